#include "mount/remount.h"

#include <linux/mount.h>
#include <sys/mount.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/failure.h"
#include "mount/mount_table.h"
#include "session/mount_options.h"

namespace templatefs {
namespace {

#ifndef MS_NOSYMFOLLOW
constexpr unsigned long MS_NOSYMFOLLOW = 256;  // include/uapi/linux/mount.h, Linux 5.10
#endif

unsigned long flags_of(const MountFlags& options) {
    unsigned long flags = 0;
    const auto set = [&flags](bool is_set, unsigned long flag) {
        if (is_set) flags |= flag;
    };
    set(options.read_only, MS_RDONLY);
    set(options.synchronous, MS_SYNCHRONOUS);
    set(options.dirsync, MS_DIRSYNC);
    set((options.attributes & MOUNT_ATTR_NOSUID) != 0, MS_NOSUID);
    set((options.attributes & MOUNT_ATTR_NODEV) != 0, MS_NODEV);
    set((options.attributes & MOUNT_ATTR_NOEXEC) != 0, MS_NOEXEC);
    set((options.attributes & MOUNT_ATTR_NOSYMFOLLOW) != 0, MS_NOSYMFOLLOW);
    set((options.attributes & MOUNT_ATTR_NODIRATIME) != 0, MS_NODIRATIME);
    const uint64_t atime = options.attributes & MOUNT_ATTR__ATIME;
    set(atime == MOUNT_ATTR_NOATIME, MS_NOATIME);
    set(atime == MOUNT_ATTR_STRICTATIME, MS_STRICTATIME);
    return flags;
}

}  // namespace

int remount_root(const std::string& target, const std::string& options) {
    char* real = ::realpath(target.c_str(), nullptr);
    const std::string place = real != nullptr ? real : target;
    std::free(real);
    auto table = read_mount_table();
    auto entry = table.ok() ? mount_on_top(table.value(), place) : std::nullopt;
    if (!entry || entry->type != kRootType) return fail(kExitFailed, "FAILED", "no root of templatefs is mounted at %s", place.c_str());
    MountFlags flags;
    std::string unknown;
    if (!parse_mount_options(options, flags, unknown).ok()) return fail(kExitUsage, "USAGE", "unknown mount option: %s", unknown.c_str());
    // The call that `mount -i -o remount` makes: the file system and this mount of it.
    if (::mount("none", place.c_str(), nullptr, MS_REMOUNT | flags_of(flags), nullptr) == 0) return 0;
    if (errno == EBUSY) return fail(kExitBusy, "BUSY", "%s cannot become read-only: files are open for writing (fuser -vm %s)", place.c_str(), place.c_str());
    return fail(kExitFailed, "FAILED", "cannot remount %s: %s", place.c_str(), std::strerror(errno));
}

}  // namespace templatefs
