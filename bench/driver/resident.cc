// How much of the page cache files take, where several of them may be one and the same behind different mounts.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "measured.h"

namespace driver {
namespace {

constexpr std::uint64_t kPageBytes = 4096;
constexpr std::uint64_t kPresent = 1ULL << 63U;
constexpr std::uint64_t kFrameMask = (1ULL << 55U) - 1;

/// The page frames in which a file is cached (Documentation/admin-guide/mm/pagemap.rst); none is read from disk for that.
void add_frames(const std::string& path, std::vector<std::uint64_t>& frames) {
    int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) fail("cannot open", path);
    struct stat status {};
    if (::fstat(fd, &status) < 0) fail("cannot stat", path);
    const auto size = static_cast<std::size_t>(status.st_size);
    const std::size_t pages = (size + kPageBytes - 1) / kPageBytes;
    if (pages == 0) {
        ::close(fd);
        return;
    }
    void* start = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
    if (start == MAP_FAILED) fail("cannot map", path);
    ::madvise(start, size, MADV_RANDOM);  // no read-ahead
    std::vector<unsigned char> cached(pages);
    if (::mincore(start, size, cached.data()) < 0) fail("cannot ask what is cached of", path);
    for (std::size_t page = 0; page < pages; ++page) {
        if ((cached[page] & 1U) != 0) (void)static_cast<const volatile char*>(start)[page * kPageBytes];
    }
    std::vector<std::uint64_t> entries(pages);
    int map = ::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (map < 0) fail("cannot open", "/proc/self/pagemap");
    const auto offset = static_cast<off_t>(reinterpret_cast<std::uintptr_t>(start) / kPageBytes * sizeof(std::uint64_t));
    const auto wanted = static_cast<ssize_t>(pages * sizeof(std::uint64_t));
    if (::pread(map, entries.data(), pages * sizeof(std::uint64_t), offset) != wanted) fail("cannot read", "/proc/self/pagemap");
    for (std::size_t page = 0; page < pages; ++page) {
        if ((cached[page] & 1U) == 0 || (entries[page] & kPresent) == 0) continue;
        const std::uint64_t frame = entries[page] & kFrameMask;
        if (frame == 0) {
            errno = EPERM;
            fail("cannot see page frames in", "/proc/self/pagemap");
        }
        frames.push_back(frame);
    }
    ::close(map);
    ::munmap(start, size);
    ::close(fd);
}

}  // namespace

// LIST: prints the cached bytes of all files of the list together, each page of memory counted once
void resident(char** arguments) {
    std::vector<std::uint64_t> frames;
    for (const std::string& path : read_list(arguments[0])) add_frames(path, frames);
    std::sort(frames.begin(), frames.end());
    frames.erase(std::unique(frames.begin(), frames.end()), frames.end());
    print_sample(1, {{"bytes", frames.size() * kPageBytes}});
}

}  // namespace driver
