// The flags of chattr(1) and lsattr(1). The kernel turns FS_IOC_GETFLAGS and its kin into FUSE_IOCTL for files and
// folders, after it has checked the caller's right to change them.
//
// Shown and taken are those that the host's file system then keeps by itself, since they stand on the private inode:
// no dump (d), no access times (A), synchronous writes (S, D). Immutable (i) and append-only (a) are refused: set on the
// host they would also stop the engine from copying up what is in such a folder, from merging such a file and from
// removing the container; set only in the root they would not be real. All else (compression, extents, project ids) is
// the business of the store's file system.

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ops/operation.h"

namespace templatefs {
namespace {

constexpr uint32_t kFlags = FS_NODUMP_FL | FS_NOATIME_FL | FS_SYNC_FL | FS_DIRSYNC_FL;

struct FlagPair {
    uint32_t flag;
    uint32_t xflag;
};

constexpr FlagPair kPairs[] = {
    {FS_NODUMP_FL, FS_XFLAG_NODUMP}, {FS_NOATIME_FL, FS_XFLAG_NOATIME}, {FS_SYNC_FL, FS_XFLAG_SYNC}};

Result<uint32_t> get_host_flags(int fd) {
    uint32_t flags = 0;
    if (::ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0) return flags;
    // The store lies on a file system without them.
    if (errno == ENOTTY || errno == EOPNOTSUPP) return 0U;
    return Errno::last();
}

Result<UniqueFd> open_private(Root& root, const File& file) {
    PinnedPlace at = TRY(root.place(*file.node));
    Place place = at;
    return open_at(place.folder, place.name, O_RDONLY | O_NONBLOCK);
}

// Files of the tree have none, nor has the root folder before its first change.
Result<uint32_t> get_flags(Root& root, const File& file) {
    if (!file.is_private() || (file.node->flags & kNodePristine) != 0) return 0U;
    UniqueFd fd = TRY(open_private(root, file));
    return TRY(get_host_flags(fd.get())) & kFlags;
}

Result<void> set_flags(Root& root, File& file, uint32_t wanted) {
    if ((wanted & ~kFlags) != 0) return Errno(EOPNOTSUPP);
    if (TRY(get_flags(root, file)) == wanted) return {};
    TRY(root.materialize(file));
    UniqueFd fd = TRY(open_private(root, file));
    uint32_t flags = (TRY(get_host_flags(fd.get())) & ~kFlags) | wanted;
    if (::ioctl(fd.get(), FS_IOC_SETFLAGS, &flags) == 0) return {};
    return errno == ENOTTY ? Errno(EOPNOTSUPP) : Errno::last();
}

template <class T>
void put_result(Operation& op, const T& value) {
    op.reply.put(fuse_ioctl_out{});
    op.reply.put(value);
}

Result<void> answer_xflags(Operation& op, const File& file) {
    const uint32_t flags = TRY(get_flags(op.root, file));
    fsxattr answer{};
    for (const FlagPair& pair : kPairs)
        if ((flags & pair.flag) != 0) answer.fsx_xflags |= pair.xflag;
    put_result(op, answer);
    return {};
}

Result<void> take_xflags(Operation& op, File& file) {
    auto given = TRY(op.arguments().take<fsxattr>());
    if (given.fsx_projid != 0 || given.fsx_extsize != 0 || given.fsx_cowextsize != 0) return Errno(EOPNOTSUPP);
    // D is no xflag: it stays as it is.
    uint32_t wanted = TRY(get_flags(op.root, file)) & FS_DIRSYNC_FL;
    uint32_t known = FS_XFLAG_HASATTR;
    for (const FlagPair& pair : kPairs) {
        known |= pair.xflag;
        if ((given.fsx_xflags & pair.xflag) != 0) wanted |= pair.flag;
    }
    if ((given.fsx_xflags & ~known) != 0) return Errno(EOPNOTSUPP);
    TRY(set_flags(op.root, file, wanted));
    op.reply.put(fuse_ioctl_out{});
    return {};
}

}  // namespace

Result<void> op_ioctl(Operation& op) {
    auto in = TRY(op.arguments().take<fuse_ioctl_in>());
    // A 32-bit program's numbers differ only where a structure does, and the kernel translates those of flags.
    File file = TRY(op.root.file(op.node()));
    if (!S_ISREG(file.type()) && !S_ISDIR(file.type())) return Errno(ENOTTY);
    if (file.node != nullptr && op.root.nodes().tombstone(*file.node) != nullptr) return Errno(ENOTTY);
    switch (in.cmd) {
        case static_cast<uint32_t>(FS_IOC_GETFLAGS):
            put_result(op, TRY(get_flags(op.root, file)));
            return {};
        case static_cast<uint32_t>(FS_IOC_SETFLAGS): {
            auto wanted = TRY(op.arguments().take<uint32_t>());
            TRY(set_flags(op.root, file, wanted));
            op.reply.put(fuse_ioctl_out{});
            return {};
        }
        case static_cast<uint32_t>(FS_IOC_FSGETXATTR):
            return answer_xflags(op, file);
        case static_cast<uint32_t>(FS_IOC_FSSETXATTR):
            return take_xflags(op, file);
        default:
            return Errno(ENOTTY);
    }
}

}  // namespace templatefs
