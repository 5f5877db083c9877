// How much of each file is in the page cache. cachestat(2) (Linux 6.5) answers from the mapping's tree of folios; on
// older kernels the file is mapped, window by window, and mincore(2) asked. Both see the cache of the file itself, so
// to learn what all containers share one asks for the object, not for a path in a root.

#include "tools/resident.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string_view>
#include <vector>

#include "base/failure.h"
#include "base/output.h"
#include "base/unique_fd.h"

namespace templatefs {
namespace {

// include/uapi/linux/mman.h of Linux 6.5; the headers that we build with may be older.
constexpr long kSyscallCachestat = 451;
struct CachestatRange {
    uint64_t offset, length;
};
struct Cachestat {
    uint64_t cached, dirty, writeback, evicted, recently_evicted;
};

uint64_t page_size() {
    static const auto size = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
    return size;
}

uint64_t round_up_to_pages(uint64_t size) { return (size + page_size() - 1) / page_size() * page_size(); }

}  // namespace

Result<uint64_t> resident_by_cachestat(int fd, uint64_t size) {
    CachestatRange range{0, size};
    Cachestat stat{};
    if (::syscall(kSyscallCachestat, fd, &range, &stat, 0) < 0) return Errno::last();
    return std::min(stat.cached * page_size(), round_up_to_pages(size));
}

Result<uint64_t> resident_by_mincore(int fd, uint64_t size) {
    constexpr uint64_t window = uint64_t{256} << 20;
    std::vector<unsigned char> pages(std::min(window, round_up_to_pages(size)) / page_size());
    uint64_t resident = 0;
    for (uint64_t at = 0; at < size; at += window) {
        uint64_t length = std::min(window, size - at);
        void* mapping = ::mmap(nullptr, length, PROT_READ, MAP_SHARED, fd, static_cast<off_t>(at));
        if (mapping == MAP_FAILED) return Errno::last();
        int result = ::mincore(mapping, length, pages.data());
        Errno error = Errno::last();
        ::munmap(mapping, length);
        if (result < 0) return error;
        auto end = pages.begin() + static_cast<ptrdiff_t>(round_up_to_pages(length) / page_size());
        auto count = std::count_if(pages.begin(), end, [](unsigned char flags) { return (flags & 1) != 0; });
        resident += static_cast<uint64_t>(count) * page_size();
    }
    return resident;
}

Result<uint64_t> resident_bytes(const char* path) {
    // Looked at before it is opened: opening a device or a fifo could do something.
    struct stat st;
    if (::lstat(path, &st) < 0) return Errno::last();
    if (!S_ISREG(st.st_mode)) return Errno(EINVAL);
    auto size = static_cast<uint64_t>(st.st_size);
    if (size == 0) return uint64_t{0};
    UniqueFd fd = TRY(open_at(AT_FDCWD, path, O_RDONLY | O_NONBLOCK));
    auto resident = resident_by_cachestat(fd.get(), size);
    // A seccomp filter that does not know the call answers EPERM.
    if (resident.ok() || (resident.error_code() != ENOSYS && resident.error_code() != EPERM)) return resident;
    return resident_by_mincore(fd.get(), size);
}

int run_resident(int argc, char**) {
    if (argc != 0) return fail(kExitUsage, "USAGE", "resident takes no arguments: it reads NUL-terminated paths on stdin");
    Output out(STDOUT_FILENO);
    char path[4096];  // PATH_MAX with its NUL: nothing longer can be opened
    size_t length = 0;
    bool too_long = false;
    char chunk[64 * 1024];
    for (;;) {
        ssize_t got = ::read(STDIN_FILENO, chunk, sizeof chunk);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail(kExitFailed, "IO_ERROR", "cannot read stdin: %s", errno_text(Errno::last()));
        if (got == 0) break;
        std::string_view rest(chunk, static_cast<size_t>(got));
        while (!rest.empty()) {
            size_t end = rest.find('\0');
            std::string_view part = rest.substr(0, end);
            if (part.size() > sizeof path - 1 - length) {
                too_long = true;
            } else {
                std::memcpy(path + length, part.data(), part.size());
                length += part.size();
            }
            if (end == std::string_view::npos) break;
            rest.remove_prefix(end + 1);
            path[length] = '\0';
            auto resident = too_long ? Result<uint64_t>(Errno(ENAMETOOLONG)) : resident_bytes(path);
            if (resident.ok()) {
                out.put_unsigned(resident.value());
            } else {
                out.put_decimal(-resident.error_code());
            }
            out.put('\n');
            length = 0;
            too_long = false;
        }
        // Before waiting for more, so that a caller may ask path by path.
        if (auto flushed = out.flush(); !flushed.ok()) {
            return fail(kExitFailed, "IO_ERROR", "cannot write the result: %s", errno_text(flushed.error()));
        }
    }
    if (length > 0 || too_long) return fail(kExitUsage, "USAGE", "the last path on stdin has no NUL at its end");
    return kExitOk;
}

}  // namespace templatefs
