#pragma once
// System calls on entries of the private area. An entry is always (folder descriptor, one name), never a path, so no
// symlink of a container can lead anywhere and no name is too long.

#include <fcntl.h>
#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"

namespace templatefs {

// One entry of a folder that is open. `name` is NUL-terminated; "." is the folder itself.
struct Place {
    int folder;
    const char* name;
};

using HostStat = struct statx;

// statx(2) without following a symlink, with the basic fields and btime.
Result<HostStat> host_stat(Place place);
// The same of an open file.
Result<HostStat> host_stat_of(int fd);

// The xattr calls act on the entry itself, whatever its type, by getxattrat(2) and its kin (Linux 6.13), else through
// /proc/self/fd. They return errors as the old calls do.
Result<size_t> host_getxattr(Place place, const char* name, std::span<std::byte> value);
Result<void> host_setxattr(Place place, const char* name, std::span<const std::byte> value, int flags);
Result<void> host_removexattr(Place place, const char* name);
Result<size_t> host_listxattr(Place place, std::span<char> list);

Result<void> host_chmod(Place place, mode_t mode);  // not for symlinks
Result<void> host_chown(Place place, uid_t uid, gid_t gid);
Result<void> host_utimens(Place place, const timespec times[2]);
// Sets atime and mtime back to what they were.
Result<void> restore_times(Place place, const HostStat& before);
Result<void> host_rename(Place from, Place to, unsigned flags);
Result<void> host_link(Place from, Place to);
Result<void> host_unlink(Place place, int flags = 0);
// Makes what says "the tree's entry of this name is gone": the character device 0:0, or where the host's file system keeps
// that for itself (overlayfs), a fifo of mode 0.
Result<void> make_whiteout(Place place);
// Renames so that a whiteout is left at `from`: one renameat2(2) where the host knows RENAME_WHITEOUT. Where it does not
// (overlayfs), what was at `to` is replaced before the whiteout is there: a power loss in between shows the tree's entry
// at `from` again, beside the new one.
Result<void> host_rename_leaving_whiteout(Place from, Place to);

// Whether it has the form of a whiteout; it is one if it has no node xattr.
inline bool is_whiteout_device(const HostStat& stat) {
    if (S_ISFIFO(stat.stx_mode)) return (stat.stx_mode & 07777) == 0;
    return S_ISCHR(stat.stx_mode) && stat.stx_rdev_major == 0 && stat.stx_rdev_minor == 0;
}

}  // namespace templatefs
