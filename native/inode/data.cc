// Reading and changing content, for requests that the kernel does not pass through.

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "inode/root.h"

namespace templatefs {
namespace {

Result<size_t> read_file(int fd, std::span<std::byte> to, uint64_t offset) {
    size_t got = 0;
    while (got < to.size()) {
        ssize_t size = ::pread(fd, to.data() + got, to.size() - got, static_cast<off_t>(offset + got));
        if (size < 0 && errno == EINTR) continue;
        if (size < 0) return Errno::last();
        if (size == 0) break;
        got += static_cast<size_t>(size);
    }
    return got;
}

// As write(2): an error only if nothing was written; for `whole` also if not all was.
template <class Write>
Result<size_t> write_all(std::span<const std::byte> from, bool whole, Write&& write) {
    size_t written = 0;
    while (written < from.size()) {
        Result<size_t> size = write(from.subspan(written), written);
        if (!size.ok() && size.error_code() == EINTR) continue;
        if (!size.ok() && written > 0 && !whole) break;
        written += TRY(std::move(size));
    }
    return written;
}

}  // namespace

PartialFile Root::partial(const OpenFile& content) const {
    return {content.fd.get(), content.object.get(), content.shown, block_};
}

Result<OpenFile*> Root::open_data(const File& file, bool writable) {
    if (writable && file.node != nullptr) end_comparison(*file.node);
    if (OpenFile* known = open_files_.find(file.nodeid()); known != nullptr) {
        if (known->writable || !writable) return known;
        open_files_.erase(file.nodeid());
    }
    if (writable && !has_own_content(file)) return Errno(EROFS);
    OpenFile content;
    if (is_partial(file)) {
        NodeInfo info = TRY(node_info(TRY(place(*file.node))));
        if (info.is_partial()) {
            content.object = TRY(open_object(info.object, O_RDONLY));
            content.shown = info.object.size;
        } else {
            nodes_.drop_flag(*file.node, kNodePartial);
        }
    }
    // Own content is opened for both at once where it can be: a reader's descriptor then serves a later writer.
    content.writable = has_own_content(file);
    auto fd = open_content(file, content.writable ? O_RDWR : O_RDONLY);
    if (!fd.ok() && content.writable && !writable && fd.error_code() == EROFS) {
        fd = open_content(file, O_RDONLY);
        content.writable = false;
    }
    content.fd = TRY(std::move(fd));
    // Its end was cut off, but how much of the object shows could not be written down: see resize().
    const uint64_t size = content.object.valid() ? TRY(host_stat_of(content.fd.get())).stx_size : 0;
    if (content.object.valid() && size < content.shown) {
        auto noted = set_shown(file, content, size);
        if (!noted.ok() && writable) return noted.error();
        // A reader goes by what is there; a later writer tries again.
        if (!noted.ok()) content.writable = false;
        content.shown = size;
    }
    open_files_.insert(file.nodeid(), std::move(content));
    return open_files_.find(file.nodeid());
}

// How much of the object shows; with nothing of it the file is an ordinary one.
Result<void> Root::set_shown(const File& file, OpenFile& content, uint64_t shown) {
    PinnedPlace at = TRY(place(*file.node));
    NodeInfo info = TRY(node_info(at));
    if (!info.is_partial()) return Errno(EUCLEAN);
    info.object.size = shown;
    if (shown == 0) info.kind = NodeInfo::Kind::Own;
    TRY(write_node_info(at, info));
    note_new_xattr(*file.node);
    content.shown = shown;
    if (shown > 0) return {};
    content.object.reset();
    nodes_.drop_flag(*file.node, kNodePartial);
    return {};
}

Result<size_t> Root::read_content(const File& file, std::span<std::byte> to, uint64_t offset) {
    auto opened = open_data(file, false);
    if (!opened.ok() && opened.error_code() == ENODATA) return size_t{0};  // an empty file of the tree
    const OpenFile& content = *TRY(std::move(opened));
    if (content.object.valid()) return read_partial(partial(content), to, offset);
    return read_file(content.fd.get(), to, offset);
}

Result<size_t> Root::write_content(const File& file, std::span<const std::byte> from, uint64_t offset, bool whole) {
    const OpenFile& content = *TRY(open_data(file, true));
    const Room room = TRY(take_room(file, content.fd.get(), offset, from.size()));
    // A store through a mapping leaves file capabilities alone; our write of its page would take them away.
    std::array<char, 64> capability;
    const ssize_t capability_size = whole ? ::fgetxattr(content.fd.get(), kCapability, capability.data(), capability.size()) : -1;
    auto written = write_all(from.first(room.bytes), whole, [&](std::span<const std::byte> rest, size_t done) -> Result<size_t> {
        if (content.object.valid()) return write_partial(partial(content), rest, offset + done);
        ssize_t size = ::pwrite(content.fd.get(), rest.data(), rest.size(), static_cast<off_t>(offset + done));
        if (size < 0) return Errno::last();
        return static_cast<size_t>(size);
    });
    Result<void> kept;
    if (capability_size > 0)
        kept = checked_void(::fsetxattr(content.fd.get(), kCapability, capability.data(), static_cast<size_t>(capability_size), 0));
    TRY(end_write(file, content.fd.get(), room, offset, written.ok() ? written.value() : 0));
    TRY(std::move(kept));
    // The kernel takes a short answer to a page of a mapping for a good one.
    if (whole && written.ok() && written.value() < from.size()) return Errno(EDQUOT);
    return written;
}

Result<void> Root::resize(const File& file, uint64_t size) {
    OpenFile& content = *TRY(open_data(file, true));
    TRY(checked_void(::ftruncate(content.fd.get(), static_cast<off_t>(size))));
    TRY(count_content(file, content.fd.get()));
    // In this order: a cut in between leaves a file that is shorter than what shows, which mend_content() sets right.
    if (!content.object.valid() || size >= content.shown) return {};
    // It is shorter. If that cannot be written down, whoever makes it longer again does so first, or gets the error: open_data().
    if (!set_shown(file, content, size).ok()) open_files_.erase(file.nodeid());
    return {};
}

Result<uint64_t> Root::seek_content(const File& file, uint64_t offset, int whence) {
    // btrfs takes a negative offset for the beginning.
    if (static_cast<int64_t>(offset) < 0) return Errno(ENXIO);
    auto opened = open_data(file, false);
    if (!opened.ok() && opened.error_code() == ENODATA) return Errno(ENXIO);
    const OpenFile& content = *TRY(std::move(opened));
    if (content.object.valid()) return seek_partial(partial(content), offset, whence);
    off_t found = ::lseek(content.fd.get(), static_cast<off_t>(offset), whence);
    if (found < 0) return Errno::last();
    return static_cast<uint64_t>(found);
}

namespace {

// tmpfs knows no FALLOC_FL_ZERO_RANGE: a hole reads as zeros, too.
Result<void> allocate_or_punch(int fd, int mode, uint64_t from, uint64_t size) {
    const auto offset = static_cast<off_t>(from);
    const auto length = static_cast<off_t>(size);
    auto done = checked_void(::fallocate(fd, mode, offset, length));
    if (done.error_code() != EOPNOTSUPP || (mode & ~FALLOC_FL_KEEP_SIZE) != FALLOC_FL_ZERO_RANGE) return done;
    TRY(checked_void(::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length)));
    struct stat stat;
    TRY(checked_void(::fstat(fd, &stat)));
    if ((mode & FALLOC_FL_KEEP_SIZE) != 0 || stat.st_size >= offset + length) return {};
    return checked_void(::ftruncate(fd, offset + length));
}

// btrfs leaves mtime alone where there is nothing to allocate.
Result<void> allocate_on_host(int fd, int mode, uint64_t from, uint64_t size) {
    struct stat before, after;
    TRY(checked_void(::fstat(fd, &before)));
    TRY(allocate_or_punch(fd, mode, from, size));
    TRY(checked_void(::fstat(fd, &after)));
    const bool moved = before.st_mtim.tv_sec != after.st_mtim.tv_sec || before.st_mtim.tv_nsec != after.st_mtim.tv_nsec;
    if (moved) return {};
    constexpr timespec kNow[] = {{0, UTIME_OMIT}, {0, UTIME_NOW}};
    return checked_void(::futimens(fd, kNow));
}

}  // namespace

Result<void> Root::allocate(const File& file, int mode, uint64_t offset, uint64_t length) {
    OpenFile& content = *TRY(open_data(file, true));
    const auto host = [&](uint64_t from, uint64_t size) -> Result<void> {
        constexpr int kTakesNothing = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE;
        if ((mode & kTakesNothing) == 0) TRY(check_allocation(content.fd.get(), from, size));
        auto done = allocate_on_host(content.fd.get(), mode, from, size);
        TRY(count_content(file, content.fd.get()));
        return done;
    };
    if (!content.object.valid()) return host(offset, length);
    // Where blocks may show the object, nothing may be preallocated: a host calls a preallocated block a hole, until a
    // read of its neighbours brings it into the page cache; then it is data, and zeros.
    const uint64_t mask = uint64_t{block_} - 1;
    const uint64_t limit = (content.shown + mask) & ~mask;
    if (offset >= limit) return host(offset, length);
    const uint64_t end = offset + length;
    const auto zero = [&](uint64_t to) -> Result<void> {
        if (to <= offset) return {};
        TRY(check_allocation(content.fd.get(), offset, to - offset));
        auto written = write_zeros(partial(content), offset, to);
        TRY(count_content(file, content.fd.get()));
        return written;
    };
    if ((mode & FALLOC_FL_PUNCH_HOLE) != 0) {
        // A hole would show the object.
        if (end < content.shown) return zero(end);
        // So it no longer shows there, before there is a hole.
        const uint64_t shown = content.shown;
        if (offset < shown) TRY(set_shown(file, content, offset));
        auto punched = host(offset, length);
        if (!punched.ok() && offset < shown && offset > 0) (void)set_shown(file, content, shown).ok();
        return punched;
    }
    const uint64_t size = TRY(host_stat_of(content.fd.get())).stx_size;
    if ((mode & FALLOC_FL_ZERO_RANGE) != 0) {
        if (end < content.shown) return zero(end);
        const uint64_t first = (offset + mask) & ~mask;  // of the blocks of which nothing needs to stay
        TRY(zero(std::min({first, end, size})));
        if (first < content.shown) {
            TRY(host(first, end - first));
            return set_shown(file, content, first);
        }
    }
    const uint64_t from = std::max(offset, limit);
    if (end > from) return host(from, end - from);
    // Also when the size stays: it changes the times and takes capabilities away, as fallocate(2) does.
    const uint64_t new_size = (mode & FALLOC_FL_KEEP_SIZE) != 0 ? size : std::max(size, end);
    TRY(checked_void(::ftruncate(content.fd.get(), static_cast<off_t>(new_size))));
    return count_content(file, content.fd.get());
}

Result<size_t> Root::copy_range(const File& from, uint64_t from_offset, const File& to, uint64_t to_offset,
                                uint64_t length) {
    // The kernel then copies by reading and writing.
    if (is_partial(from) || is_partial(to)) return Errno(EOPNOTSUPP);
    // Both descriptors at once: opening the second must not push the first out.
    (void)TRY(open_data(to, true));
    auto source = open_data(from, false);
    if (!source.ok() && source.error_code() == ENODATA) return size_t{0};
    const int from_fd = TRY(std::move(source))->fd.get();
    const int to_fd = TRY(open_data(to, true))->fd.get();
    auto in = static_cast<loff_t>(from_offset);
    auto out = static_cast<loff_t>(to_offset);
    // One answer of at most 1 GiB: the client asks again for the rest.
    length = std::min<uint64_t>(length, 1ULL << 30);
    if (usage_.counts_bytes()) {
        const uint64_t size = TRY(host_stat_of(from_fd)).stx_size;
        length = std::min(length, size > from_offset ? size - from_offset : 0);
    }
    const Room room = TRY(take_room(to, to_fd, to_offset, length));
    ssize_t copied = ::copy_file_range(from_fd, &in, to_fd, &out, room.bytes, 0);
    const Errno error = Errno::last();
    TRY(end_write(to, to_fd, room, to_offset, copied > 0 ? static_cast<uint64_t>(copied) : 0));
    if (copied < 0) return error;
    return static_cast<size_t>(copied);
}

Result<Root::ContentSync> Root::begin_sync(const File& file, bool data_only) {
    PinnedPlace at = TRY(place(*file.node));
    Place where = at;
    ContentSync sync;
    sync.fd = TRY(open_at(where.folder, where.name, O_RDONLY));
    // Without its xattr the data would not be found again: for ext4 an xattr is nothing that fdatasync(2) has to care for.
    sync.whole = !data_only || (file.node->flags & kNodeNewXattr) != 0;
    sync.xattr_changes = xattr_changes_;
    return sync;
}

Result<void> Root::end_sync(const File& file, bool whole, uint64_t xattr_changes) {
    // An xattr that changed since is for the next fsync; which file's it was is not worth knowing.
    if (whole && xattr_changes == xattr_changes_) nodes_.drop_flag(*file.node, kNodeNewXattr);
    if (!is_partial(file)) return {};
    // Every block was written to, and now all of them are durable: it is an ordinary file.
    OpenFile& content = *TRY(open_data(file, false));
    if (content.object.valid() && TRY(is_whole(partial(content)))) return set_shown(file, content, 0);
    return {};
}

void Root::note_new_xattr(Node& node) {
    nodes_.add_flag(node, kNodeNewXattr);
    xattr_changes_++;
}

}  // namespace templatefs
