#include "private/partial_file.h"

#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <memory>

namespace templatefs {
namespace {

constexpr uint64_t kNone = std::numeric_limits<uint64_t>::max();

// The next data or hole at or after `offset`; kNone when there is none before the end of the file.
Result<uint64_t> seek(int fd, uint64_t offset, int whence) {
    off_t found = ::lseek(fd, static_cast<off_t>(offset), whence);
    if (found >= 0) return static_cast<uint64_t>(found);
    if (errno == ENXIO) return kNone;
    return Errno::last();
}

Result<void> read_all(int fd, std::span<std::byte> to, uint64_t offset) {
    size_t got = 0;
    while (got < to.size()) {
        ssize_t size = ::pread(fd, to.data() + got, to.size() - got, static_cast<off_t>(offset + got));
        if (size < 0 && errno == EINTR) continue;
        if (size < 0) return Errno::last();
        if (size == 0) return Errno(EIO);  // shorter than what names it says
        got += static_cast<size_t>(size);
    }
    return {};
}

Result<uint64_t> size_of(int fd) {
    struct stat stat;
    TRY(checked_void(::fstat(fd, &stat)));
    return static_cast<uint64_t>(stat.st_size);
}

// Room for the parts of the first and last block that a write does not cover. A host's block is at most 64 KiB.
std::span<std::byte> fill_buffer(size_t size) {
    static thread_local std::unique_ptr<std::byte[]> buffer;
    static thread_local size_t capacity = 0;
    if (size > capacity) {
        buffer = std::make_unique<std::byte[]>(size);
        capacity = size;
    }
    return {buffer.get(), size};
}

// Bytes [from, to) as a hole shows them.
Result<void> read_through(const PartialFile& file, std::span<std::byte> to, uint64_t offset) {
    if (to.empty()) return {};
    const uint64_t object_end = std::min<uint64_t>(file.shown, offset + to.size());
    const size_t of_object = object_end > offset ? static_cast<size_t>(object_end - offset) : 0;
    TRY(read_all(file.object, to.first(of_object), offset));
    std::memset(to.data() + of_object, 0, to.size() - of_object);
    return {};
}

// Whether the block that starts there is still the object's.
Result<bool> shows_object(const PartialFile& file, uint64_t block) {
    return block < file.shown && TRY(seek(file.own, block, SEEK_DATA)) != block;
}

}  // namespace

bool is_one_hole(int own) {
    auto data = seek(own, 0, SEEK_DATA);
    return data.ok() && data.value() == kNone;
}

Result<bool> drop_unwritten(int own, uint64_t shown) {
    bool dropped = false;
    // What is in the page cache only is written first: then whatever is still unwritten has no data.
    TRY(checked_void(::fdatasync(own)));
    struct stat stat;
    TRY(checked_void(::fstat(own, &stat)));
    const auto block = static_cast<uint64_t>(stat.st_blksize);
    shown = (shown + block - 1) / block * block;  // a block goes as a whole
    constexpr uint32_t kExtents = 128;
    alignas(fiemap) std::byte room[sizeof(fiemap) + kExtents * sizeof(fiemap_extent)];
    for (uint64_t at = 0; at < shown;) {
        fiemap request{};
        request.fm_start = at;
        request.fm_length = shown - at;
        request.fm_extent_count = kExtents;
        std::memcpy(room, &request, sizeof request);
        // tmpfs knows none of this, and nothing of it outlives a power loss.
        if (::ioctl(own, FS_IOC_FIEMAP, room) < 0) {
            if (errno == EOPNOTSUPP || errno == ENOTTY) return false;
            return Errno::last();
        }
        std::memcpy(&request, room, sizeof request);
        for (uint32_t i = 0; i < request.fm_mapped_extents; i++) {
            fiemap_extent extent;
            std::memcpy(&extent, room + sizeof request + i * sizeof extent, sizeof extent);
            at = extent.fe_logical + extent.fe_length;
            if ((extent.fe_flags & FIEMAP_EXTENT_UNWRITTEN) != 0 && extent.fe_logical < shown) {
                const uint64_t end = std::min(at, shown);
                TRY(checked_void(::fallocate(own, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(extent.fe_logical),
                                             static_cast<off_t>(end - extent.fe_logical))));
                dropped = true;
            }
            if ((extent.fe_flags & FIEMAP_EXTENT_LAST) != 0) return dropped;
        }
        if (request.fm_mapped_extents == 0) return dropped;
    }
    return dropped;
}

Result<size_t> read_partial(const PartialFile& file, std::span<std::byte> to, uint64_t offset) {
    const uint64_t size = TRY(size_of(file.own));
    if (offset >= size) return size_t{0};
    const uint64_t end = std::min<uint64_t>(size, offset + to.size());
    for (uint64_t at = offset; at < end;) {
        const uint64_t data = std::min(TRY(seek(file.own, at, SEEK_DATA)), end);
        if (data > at) TRY(read_through(file, to.subspan(at - offset, data - at), at));
        at = data;
        if (at == end) break;
        const uint64_t hole = std::min(TRY(seek(file.own, at, SEEK_HOLE)), end);
        TRY(read_all(file.own, to.subspan(at - offset, hole - at), at));
        at = hole;
    }
    return static_cast<size_t>(end - offset);
}

Result<size_t> write_partial(const PartialFile& file, std::span<const std::byte> from, uint64_t offset) {
    if (from.empty()) return size_t{0};
    const uint64_t end = offset + from.size();
    const uint64_t mask = uint64_t{file.block} - 1;
    const uint64_t first = offset & ~mask;  // of the first block
    const uint64_t last = end & ~mask;      // of the block that the write ends inside of
    uint64_t head = 0, tail = 0;
    if (first < offset && TRY(shows_object(file, first))) head = offset - first;
    if (last < end && end < file.shown && TRY(shows_object(file, last))) tail = std::min(last + file.block, file.shown) - end;
    auto fill = fill_buffer(head + tail);
    TRY(read_through(file, fill.first(head), first));
    TRY(read_through(file, fill.subspan(head), end));
    // One call, so that no block is ever data without being filled up: the host copies whole pages or none.
    std::array<iovec, 3> parts{{{fill.data(), head},
                                {const_cast<std::byte*>(from.data()), from.size()},
                                {fill.data() + head, tail}}};
    ssize_t written;
    do written = ::pwritev(file.own, parts.data(), static_cast<int>(parts.size()), static_cast<off_t>(offset - head));
    while (written < 0 && errno == EINTR);
    if (written < 0) return Errno::last();
    const auto done = static_cast<uint64_t>(written);
    if (done <= head) return Errno(ENOSPC);  // the host took only what is there already
    return static_cast<size_t>(std::min<uint64_t>(done - head, from.size()));
}

Result<void> write_zeros(const PartialFile& file, uint64_t offset, uint64_t end) {
    static constexpr std::array<std::byte, 256 * 1024> kZeros{};
    while (offset < end) {
        // Up to a block's border where it can be, so that only the range's two ends are filled up.
        uint64_t length = std::min<uint64_t>(kZeros.size() - (offset & (file.block - 1)), end - offset);
        offset += TRY(write_partial(file, std::span(kZeros).first(length), offset));
    }
    return {};
}

Result<uint64_t> seek_partial(const PartialFile& file, uint64_t offset, int whence) {
    const uint64_t size = TRY(size_of(file.own));
    if (offset >= size) return Errno(ENXIO);
    uint64_t at = offset;
    if (whence == SEEK_DATA) {
        uint64_t found = TRY(seek(file.own, at, SEEK_DATA));
        if (at < file.shown) found = std::min(found, TRY(seek(file.object, at, SEEK_DATA)));
        // The object's data behind what shows is none of ours.
        if (found >= file.shown) found = TRY(seek(file.own, std::max(at, file.shown), SEEK_DATA));
        if (found >= size) return Errno(ENXIO);
        return found;
    }
    while (at < size) {
        const uint64_t own = TRY(seek(file.own, at, SEEK_DATA));
        if (own == at) {
            at = TRY(seek(file.own, at, SEEK_HOLE));
            continue;
        }
        if (at >= file.shown || TRY(seek(file.object, at, SEEK_DATA)) != at) return at;
        at = std::min({TRY(seek(file.object, at, SEEK_HOLE)), file.shown, own});
    }
    return size;
}

Result<bool> is_whole(const PartialFile& file) {
    return TRY(seek(file.own, 0, SEEK_HOLE)) >= file.shown;
}

}  // namespace templatefs
