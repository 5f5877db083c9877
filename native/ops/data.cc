#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "ops/operation.h"

namespace templatefs {

Result<void> op_read(Operation& op) {
    auto in = TRY(op.arguments().take<fuse_read_in>());
    File file = TRY(op.root.opened_file(op.node()));
    if (!S_ISREG(file.type())) return Errno(EINVAL);
    auto space = op.reply.space();
    size_t got = TRY(op.root.read_content(file, space.first(std::min<size_t>(in.size, space.size())), in.offset));
    op.reply.grow(got);
    return {};
}

Result<void> op_write(Operation& op) {
    auto in = TRY(op.arguments().take<fuse_write_in>());
    auto data = TRY(op.arguments().take_bytes(in.size));
    File file = TRY(op.root.file(op.node()));
    if (!S_ISREG(file.type())) return Errno(EINVAL);
    const bool from_mapping = (in.write_flags & FUSE_WRITE_CACHE) != 0;
    size_t written = TRY(op.root.write_content(file, data, in.offset, from_mapping));
    if ((in.write_flags & FUSE_WRITE_KILL_SUIDGID) != 0) TRY(op.root.clear_set_id(file, op.request.header.pid));
    fuse_write_out out{};
    out.size = static_cast<uint32_t>(written);
    op.reply.put(out);
    return {};
}

namespace {

// Hands an fsync over; false: it is to be waited for.
bool sync_later(Operation& op, UniqueFd& fd, SyncJob job) {
    job.unique = op.request.header.unique;
    job.nodeid = op.node();
    job.fd = fd.get();
    if (op.syncer == nullptr || !op.syncer->take(job)) return false;
    (void)fd.release();
    op.reply.later();
    return true;
}

}  // namespace

Result<void> op_fsync(Operation& op) {
    auto in = TRY(op.arguments().take<fuse_fsync_in>());
    File file = TRY(op.root.file(op.node()));
    op.reply.done();
    // Content and metadata of the tree are durable since the import.
    if (!file.is_private() || op.root.nodes().tombstone(*file.node) != nullptr) return {};
    if (!S_ISREG(file.type())) return Errno(EINVAL);
    Root::ContentSync sync = TRY(op.root.begin_sync(file, (in.fsync_flags & FUSE_FSYNC_FDATASYNC) != 0));
    SyncJob job;
    job.xattr_changes = sync.xattr_changes;
    job.whole = sync.whole ? 1 : 0;
    job.content = 1;
    if (sync_later(op, sync.fd, job)) return {};
    TRY(checked_void(sync.whole ? ::fsync(sync.fd.get()) : ::fdatasync(sync.fd.get())));
    return op.root.end_sync(file, sync.whole, sync.xattr_changes);
}

Result<void> op_fsyncdir(Operation& op) {
    Folder folder = TRY(op.root.folder(op.node()));
    op.reply.done();
    if (!folder.dir) return {};
    UniqueFd fd(::fcntl(folder.dir->fd.get(), F_DUPFD_CLOEXEC, 0));
    SyncJob job;
    job.whole = 1;
    if (fd.valid() && sync_later(op, fd, job)) return {};
    return checked_void(::fsync(folder.dir->fd.get()));
}

Result<void> end_sync(Root& root, const SyncJob& job) {
    if (job.error != 0) return Errno(job.error);
    if (job.content == 0) return {};
    auto file = root.file(job.nodeid);
    // Nobody can be told of it any more.
    if (!file.ok() || file.value().node == nullptr || root.nodes().tombstone(*file.value().node) != nullptr) return {};
    return root.end_sync(file.value(), job.whole != 0, job.xattr_changes);
}

Result<void> op_lseek(Operation& op) {
    auto in = TRY(op.arguments().take<fuse_lseek_in>());
    if (in.whence != SEEK_DATA && in.whence != SEEK_HOLE) return Errno(EINVAL);
    File file = TRY(op.root.opened_file(op.node()));
    if (!S_ISREG(file.type())) return Errno(EINVAL);
    fuse_lseek_out out{};
    out.offset = TRY(op.root.seek_content(file, in.offset, static_cast<int>(in.whence)));
    op.reply.put(out);
    return {};
}

Result<void> op_fallocate(Operation& op) {
    auto in = TRY(op.arguments().take<fuse_fallocate_in>());
    File file = TRY(op.root.file(op.node()));
    if (!S_ISREG(file.type())) return Errno(EINVAL);
    TRY(op.root.allocate(file, static_cast<int>(in.mode), in.offset, in.length));
    op.reply.done();
    return {};
}

Result<void> op_copy_file_range(Operation& op) {
    auto in = TRY(op.arguments().take<fuse_copy_file_range_in>());
    File from = TRY(op.root.opened_file(op.node()));
    File to = TRY(op.root.file(in.nodeid_out));
    if (!S_ISREG(from.type()) || !S_ISREG(to.type())) return Errno(EINVAL);
    fuse_write_out out{};
    out.size = static_cast<uint32_t>(TRY(op.root.copy_range(from, in.off_in, to, in.off_out, in.len)));
    op.reply.put(out);
    return {};
}

}  // namespace templatefs
