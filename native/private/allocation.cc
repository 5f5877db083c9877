#include "private/allocation.h"

#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>

namespace templatefs {
namespace {

constexpr uint32_t kBatch = 32;

struct Extent {
    uint64_t start, end;
    bool found;
};

// The next allocated extent that ends after `from`, before `limit`; found is false when there is none.
class Extents {
public:
    Extents(int fd, uint64_t limit) : fd_(fd), limit_(limit) {}

    Result<Extent> next(uint64_t from) {
        if (use_seek_) return seek(from);
        for (;;) {
            while (at_ < count_) {
                const fiemap_extent& next = extent(at_);
                const uint64_t end = next.fe_logical + next.fe_length;
                if (end > from) return Extent{next.fe_logical, end, true};
                at_++;
            }
            if (last_ || from >= limit_) return Extent{0, 0, false};
            *map() = {};
            map()->fm_start = from;
            map()->fm_length = limit_ - from;
            map()->fm_extent_count = kBatch;
            if (::ioctl(fd_, FS_IOC_FIEMAP, map()) < 0) {
                if (errno == EINTR) continue;
                if (errno != EOPNOTSUPP && errno != ENOTTY && errno != EBADR) return Errno::last();
                use_seek_ = true;
                return seek(from);
            }
            at_ = 0;
            count_ = map()->fm_mapped_extents;
            last_ = count_ < kBatch || (extent(count_ - 1).fe_flags & FIEMAP_EXTENT_LAST) != 0;
        }
    }

private:
    Result<Extent> seek(uint64_t from) const {
        off_t data = ::lseek(fd_, static_cast<off_t>(from), SEEK_DATA);
        if (data < 0 && errno == ENXIO) return Extent{0, 0, false};
        if (data < 0) return Errno::last();
        off_t hole = ::lseek(fd_, data, SEEK_HOLE);
        if (hole < 0) return Errno::last();
        return Extent{static_cast<uint64_t>(data), static_cast<uint64_t>(hole), true};
    }

    fiemap* map() { return reinterpret_cast<fiemap*>(batch_); }
    const fiemap_extent& extent(uint32_t number) { return map()->fm_extents[number]; }

    alignas(fiemap) std::byte batch_[sizeof(fiemap) + kBatch * sizeof(fiemap_extent)] = {};
    int fd_;
    uint64_t limit_;
    uint32_t at_ = 0, count_ = 0;
    bool last_ = false;
    bool use_seek_ = false;
};

}  // namespace

void release_ahead(int fd, uint64_t block) {
    fsxattr attributes{};
    if (::ioctl(fd, FS_IOC_FSGETXATTR, &attributes) < 0 || (attributes.fsx_xflags & FS_XFLAG_PREALLOC) != 0) return;
    struct stat stat;
    if (::fstat(fd, &stat) < 0) return;
    const uint64_t start = (static_cast<uint64_t>(stat.st_size) + block - 1) / block * block;
    constexpr uint64_t kFarEnd = 1ULL << 60;
    auto ahead = Extents(fd, kFarEnd).next(start);
    if (!ahead.ok() || !ahead.value().found) return;
    if (::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(start),
                    static_cast<off_t>(kFarEnd - start)) < 0)
        return;
    const timespec times[2] = {stat.st_atim, stat.st_mtim};
    (void)::futimens(fd, times);
}

Result<uint64_t> writable_prefix(int fd, uint64_t offset, uint64_t length, uint64_t block, uint64_t room) {
    if (length == 0) return uint64_t{0};
    const uint64_t end = offset + length;
    const uint64_t last = (end + block - 1) / block * block;
    uint64_t at = offset / block * block;
    room -= room % block;
    Extents extents(fd, last);
    while (at < last) {
        const Extent extent = TRY(extents.next(at));
        const uint64_t hole_end = extent.found ? std::min(std::max(extent.start / block * block, at), last) : last;
        const uint64_t hole = hole_end - at;
        if (hole > room) {
            at += room;
            break;
        }
        room -= hole;
        at = hole_end;
        if (!extent.found) break;
        // The end of a file that is smaller than its last block shares that block.
        at = std::max(at, std::min((extent.end + block - 1) / block * block, last));
    }
    if (at <= offset) return uint64_t{0};
    return std::min(at, end) - offset;
}

}  // namespace templatefs
