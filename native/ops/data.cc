#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ops/operation.h"

namespace templatefs {

Result<void> op_read(Operation& op) {
    auto in = TRY(op.arguments().take<fuse_read_in>());
    File file = TRY(op.root.file(op.node()));
    if (!S_ISREG(file.type())) return Errno(EINVAL);
    auto fd = op.root.data_fd(file, false);
    if (!fd.ok()) {
        if (fd.error_code() != ENODATA) return fd.error();
        op.reply.done();  // an empty file of the tree
        return {};
    }
    auto space = op.reply.space();
    size_t wanted = std::min<size_t>(in.size, space.size());
    size_t got = 0;
    while (got < wanted) {
        ssize_t size = ::pread(fd.value(), space.data() + got, wanted - got, static_cast<off_t>(in.offset + got));
        if (size < 0 && errno == EINTR) continue;
        if (size < 0) return Errno::last();
        if (size == 0) break;
        got += static_cast<size_t>(size);
    }
    op.reply.grow(got);
    return {};
}

Result<void> op_write(Operation& op) {
    auto in = TRY(op.arguments().take<fuse_write_in>());
    auto data = TRY(op.arguments().take_bytes(in.size));
    File file = TRY(op.root.file(op.node()));
    if (!S_ISREG(file.type())) return Errno(EINVAL);
    int fd = TRY(op.root.data_fd(file, true));
    size_t written = 0;
    while (written < data.size()) {
        ssize_t size = ::pwrite(fd, data.data() + written, data.size() - written, static_cast<off_t>(in.offset + written));
        if (size < 0 && errno == EINTR) continue;
        if (size < 0) {
            if (written > 0) break;
            return Errno::last();
        }
        written += static_cast<size_t>(size);
    }
    if ((in.write_flags & FUSE_WRITE_KILL_SUIDGID) != 0) TRY(op.root.clear_set_id(file, op.request.header.pid));
    fuse_write_out out{};
    out.size = static_cast<uint32_t>(written);
    op.reply.put(out);
    return {};
}

Result<void> op_fsync(Operation& op) {
    auto in = TRY(op.arguments().take<fuse_fsync_in>());
    File file = TRY(op.root.file(op.node()));
    op.reply.done();
    // Content and metadata of the tree are durable since the import.
    if (!file.is_private() || op.root.nodes().tombstone(*file.node) != nullptr) return {};
    PinnedPlace at = TRY(op.root.place(*file.node));
    Place place = at;
    if (!S_ISREG(file.type())) return Errno(EINVAL);
    UniqueFd fd = TRY(open_at(place.folder, place.name, O_RDONLY));
    bool data_only = (in.fsync_flags & FUSE_FSYNC_FDATASYNC) != 0;
    return checked_void(data_only ? ::fdatasync(fd.get()) : ::fsync(fd.get()));
}

Result<void> op_fsyncdir(Operation& op) {
    Folder folder = TRY(op.root.folder(op.node()));
    op.reply.done();
    if (!folder.dir) return {};
    return checked_void(::fsync(folder.dir->fd.get()));
}

Result<void> op_lseek(Operation& op) {
    auto in = TRY(op.arguments().take<fuse_lseek_in>());
    if (in.whence != SEEK_DATA && in.whence != SEEK_HOLE) return Errno(EINVAL);
    File file = TRY(op.root.file(op.node()));
    if (!S_ISREG(file.type())) return Errno(EINVAL);
    auto fd = op.root.data_fd(file, false);
    if (!fd.ok() && fd.error_code() == ENODATA) return Errno(ENXIO);
    off_t offset = ::lseek(TRY(std::move(fd)), static_cast<off_t>(in.offset), static_cast<int>(in.whence));
    if (offset < 0) return Errno::last();
    fuse_lseek_out out{};
    out.offset = static_cast<uint64_t>(offset);
    op.reply.put(out);
    return {};
}

Result<void> op_fallocate(Operation& op) {
    auto in = TRY(op.arguments().take<fuse_fallocate_in>());
    File file = TRY(op.root.file(op.node()));
    if (!S_ISREG(file.type())) return Errno(EINVAL);
    int fd = TRY(op.root.data_fd(file, true));
    TRY(checked_void(::fallocate(fd, static_cast<int>(in.mode), static_cast<off_t>(in.offset), static_cast<off_t>(in.length))));
    op.reply.done();
    return {};
}

Result<void> op_copy_file_range(Operation& op) {
    auto in = TRY(op.arguments().take<fuse_copy_file_range_in>());
    File from = TRY(op.root.file(op.node()));
    File to = TRY(op.root.file(in.nodeid_out));
    if (!S_ISREG(from.type()) || !S_ISREG(to.type())) return Errno(EINVAL);
    int to_fd = TRY(op.root.data_fd(to, true));
    auto from_fd = op.root.data_fd(from, false);
    fuse_write_out out{};
    if (from_fd.ok()) {
        auto from_offset = static_cast<loff_t>(in.off_in);
        auto to_offset = static_cast<loff_t>(in.off_out);
        // One answer of at most 1 GiB: the client asks again for the rest.
        size_t length = std::min<uint64_t>(in.len, 1ULL << 30);
        ssize_t copied = ::copy_file_range(from_fd.value(), &from_offset, to_fd, &to_offset, length, 0);
        if (copied < 0) return Errno::last();
        out.size = static_cast<uint32_t>(copied);
    } else if (from_fd.error_code() != ENODATA) {
        return from_fd.error();
    }
    op.reply.put(out);
    return {};
}

}  // namespace templatefs
