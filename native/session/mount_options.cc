#include "session/mount_options.h"

#include <linux/mount.h>

namespace templatefs {
namespace {

// The access-time modes are values of one field: each is set by clearing the others.
struct Attribute {
    std::string_view name;
    uint64_t set;
    uint64_t clear;
};

constexpr Attribute kAttributes[] = {
    {"nosuid", MOUNT_ATTR_NOSUID, 0},
    {"suid", 0, MOUNT_ATTR_NOSUID},
    {"nodev", MOUNT_ATTR_NODEV, 0},
    {"dev", 0, MOUNT_ATTR_NODEV},
    {"noexec", MOUNT_ATTR_NOEXEC, 0},
    {"exec", 0, MOUNT_ATTR_NOEXEC},
    {"nosymfollow", MOUNT_ATTR_NOSYMFOLLOW, 0},
    {"symfollow", 0, MOUNT_ATTR_NOSYMFOLLOW},
    {"noatime", MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME},
    {"atime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
    {"relatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
    {"norelatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME},
    {"strictatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME},
    {"nostrictatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
    {"nodiratime", MOUNT_ATTR_NODIRATIME, 0},
    {"diratime", 0, MOUNT_ATTR_NODIRATIME},
    {"defaults", 0, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC},
};

bool take(std::string_view option, MountFlags& flags) {
    constexpr std::string_view kSource = "fsname=";
    if (option == "ro" || option == "rw") {
        flags.read_only = option == "ro";
    } else if (option == "sync" || option == "async") {
        flags.synchronous = option == "sync";
    } else if (option == "dirsync") {
        flags.dirsync = true;
    } else if (option.starts_with(kSource) && option.size() > kSource.size()) {
        flags.source = option.substr(kSource.size());
    } else {
        for (const Attribute& attribute : kAttributes) {
            if (attribute.name != option) continue;
            flags.attributes = (flags.attributes & ~attribute.clear) | attribute.set;
            if (option == "defaults") flags.read_only = flags.synchronous = false;
            return true;
        }
        return false;
    }
    return true;
}

}  // namespace

Result<void> parse_mount_options(std::string_view list, MountFlags& flags, std::string& unknown) {
    while (!list.empty()) {
        std::string_view option = list.substr(0, list.find(','));
        list.remove_prefix(std::min(list.size(), option.size() + 1));
        if (option.empty() || take(option, flags)) continue;
        unknown = option;
        return Errno(EINVAL);
    }
    return {};
}

}  // namespace templatefs
