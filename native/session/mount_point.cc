#include "session/mount_point.h"

#include <linux/mount.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>

namespace templatefs {

Result<void> mount_root(int device, const std::string& source, const std::string& mountpoint) {
    char data[128];
    std::snprintf(data, sizeof data, "fd=%d,rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other", device);
    return checked_void(::mount(source.c_str(), mountpoint.c_str(), "fuse.templatefs", 0, data));
}

Result<void> clear_dead_mount(const std::string& mountpoint) {
    struct stat stat;
    if (::stat(mountpoint.c_str(), &stat) == 0 || errno != ENOTCONN) return {};
    return checked_void(::umount2(mountpoint.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW));
}

Result<UniqueFd> read_only_view(int folder) {
    int fd = static_cast<int>(::syscall(SYS_open_tree, folder, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
    if (fd < 0) return Errno::last();
    UniqueFd view(fd);
    mount_attr attributes{};
    attributes.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
    TRY(checked_void(static_cast<int>(
        ::syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof attributes))));
    return view;
}

Result<unsigned> connection_number(const std::string& mountpoint) {
    struct statx stat;
    if (::statx(AT_FDCWD, mountpoint.c_str(), AT_STATX_DONT_SYNC, STATX_INO, &stat) < 0) return Errno::last();
    return stat.stx_dev_minor;
}

}  // namespace templatefs
