#include "session/mount_point.h"

#include <linux/mount.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "session/user_namespace.h"

namespace templatefs {

namespace {

Result<void> set_string(int context, const char* name, const char* value) {
    return checked_void(static_cast<int>(::syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, name, value, 0)));
}

Result<void> set_flag(int context, const char* name) {
    return checked_void(static_cast<int>(::syscall(SYS_fsconfig, context, FSCONFIG_SET_FLAG, name, nullptr, 0)));
}

}  // namespace

Result<UniqueFd> make_root_mount(int device, const MountFlags& flags) {
    UniqueFd context(TRY(checked(static_cast<int>(::syscall(SYS_fsopen, "fuse", FSOPEN_CLOEXEC)))));
    const int fs = context.get();
    TRY(set_string(fs, "source", flags.source.c_str()));
    TRY(set_string(fs, "subtype", "templatefs"));
    TRY(set_string(fs, "fd", std::to_string(device).c_str()));
    TRY(set_string(fs, "rootmode", "40000"));
    TRY(set_string(fs, "user_id", "0"));
    TRY(set_string(fs, "group_id", "0"));
    TRY(set_flag(fs, "default_permissions"));
    TRY(set_flag(fs, "allow_other"));
    if (flags.read_only) TRY(set_flag(fs, "ro"));
    if (flags.synchronous) TRY(set_flag(fs, "sync"));
    if (flags.dirsync) TRY(set_flag(fs, "dirsync"));
    TRY(checked_void(static_cast<int>(::syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0))));
    const uint64_t attributes = flags.attributes | (flags.read_only ? uint64_t{MOUNT_ATTR_RDONLY} : 0U);
    return UniqueFd(TRY(checked(static_cast<int>(::syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, attributes)))));
}

Result<void> attach_root(int mount, const IdMaps& ids, const std::string& mountpoint) {
    if (!ids.empty()) {
        UniqueFd users = TRY(make_user_namespace(ids));
        mount_attr attributes{};
        attributes.attr_set = MOUNT_ATTR_IDMAP;
        attributes.userns_fd = static_cast<uint64_t>(users.get());
        TRY(checked_void(static_cast<int>(
            ::syscall(SYS_mount_setattr, mount, "", AT_EMPTY_PATH, &attributes, sizeof attributes))));
    }
    return checked_void(static_cast<int>(
        ::syscall(SYS_move_mount, mount, "", AT_FDCWD, mountpoint.c_str(), MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_SYMLINKS)));
}

bool is_dead_mount(const std::string& mountpoint) {
    // Attributes that the kernel has kept would hide it.
    struct statx stat;
    return ::statx(AT_FDCWD, mountpoint.c_str(), AT_STATX_FORCE_SYNC | AT_NO_AUTOMOUNT, STATX_BASIC_STATS, &stat) < 0 && errno == ENOTCONN;
}

Result<void> clear_dead_mount(const std::string& mountpoint) {
    if (!is_dead_mount(mountpoint)) return {};
    return checked_void(::umount2(mountpoint.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW));
}

Result<unsigned> connection_number(const std::string& mountpoint) {
    struct statx stat;
    if (::statx(AT_FDCWD, mountpoint.c_str(), AT_STATX_DONT_SYNC, STATX_INO, &stat) < 0) return Errno::last();
    return stat.stx_dev_minor;
}

}  // namespace templatefs
