// Reading and writing content: one loop for each verb, with the start of the process, opening and preparations outside of it.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "measured.h"

namespace driver {
namespace {

int open_or_fail(const std::string& path, int flags) {
    int fd = ::open(path.c_str(), flags | O_CLOEXEC, 0644);
    if (fd < 0) fail("cannot open", path);
    return fd;
}

std::uint64_t size_of(int fd, const std::string& path) {
    struct stat status {};
    if (::fstat(fd, &status) < 0) fail("cannot stat", path);
    return static_cast<std::uint64_t>(status.st_size);
}

std::uint64_t read_whole(int fd, std::vector<char>& block, const char* path) {
    std::uint64_t bytes = 0;
    for (;;) {
        ssize_t size = ::pread(fd, block.data(), block.size(), static_cast<off_t>(bytes));
        if (size < 0) fail("cannot read", path);
        if (size == 0) return bytes;
        bytes += static_cast<std::uint64_t>(size);
    }
}

void write_block(int fd, const std::vector<char>& block, std::uint64_t offset, const std::string& path) {
    if (::pwrite(fd, block.data(), block.size(), static_cast<off_t>(offset)) != static_cast<ssize_t>(block.size())) {
        fail("cannot write", path);
    }
}

std::vector<char> noise_block(std::uint64_t size) {
    std::vector<char> block(size);
    Random random;
    for (char& byte : block) byte = static_cast<char>(random.below(256));
    return block;
}

/// One byte of each page, through a new mapping.
std::uint64_t touch_pages(int fd, std::uint64_t size, const char* path) {
    void* start = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
    if (start == MAP_FAILED) fail("cannot map", path);
    const auto* bytes = static_cast<const volatile char*>(start);
    std::uint64_t pages = 0;
    for (std::uint64_t at = 0; at < size; at += 4096, ++pages) (void)bytes[at];
    ::munmap(start, size);
    return pages;
}

}  // namespace

// FILE BLOCK cold|warm
void read_file(char** arguments) {
    int fd = open_or_fail(arguments[0], O_RDONLY);
    std::vector<char> block(number(arguments[1]));
    if (arguments[2][0] == 'w') read_whole(fd, block, arguments[0]);
    std::uint64_t start = now_ns();
    std::uint64_t bytes = read_whole(fd, block, arguments[0]);
    print_sample(now_ns() - start, {{"bytes", bytes}, {"reads", bytes / block.size()}});
}

// FILE BLOCK COUNT
void read_random(char** arguments) {
    int fd = open_or_fail(arguments[0], O_RDONLY);
    std::vector<char> block(number(arguments[1]));
    std::uint64_t count = number(arguments[2]);
    std::uint64_t blocks = size_of(fd, arguments[0]) / block.size();
    std::vector<char> large(128 * 1024);
    read_whole(fd, large, arguments[0]);
    Random random;
    std::uint64_t start = now_ns();
    for (std::uint64_t done = 0; done < count; ++done) {
        if (::pread(fd, block.data(), block.size(), static_cast<off_t>(random.below(blocks) * block.size())) < 0) fail("cannot read", arguments[0]);
    }
    print_sample(now_ns() - start, {{"reads", count}});
}

// FILE
void map_file(char** arguments) {
    int fd = open_or_fail(arguments[0], O_RDONLY);
    std::uint64_t size = size_of(fd, arguments[0]);
    touch_pages(fd, size, arguments[0]);
    std::uint64_t start = now_ns();
    std::uint64_t pages = touch_pages(fd, size, arguments[0]);
    print_sample(now_ns() - start, {{"pages", pages}});
}

// FOLDER BYTES BLOCK
void overwrite(char** arguments) {
    WorkFolder folder(arguments[0]);
    std::string path = folder.path() + "/file";
    std::uint64_t bytes = number(arguments[1]);
    std::vector<char> block = noise_block(number(arguments[2]));
    int fd = open_or_fail(path, O_RDWR | O_CREAT | O_EXCL);
    for (std::uint64_t at = 0; at < bytes; at += block.size()) write_block(fd, block, at, path);
    // On disk first: what is written back in the middle of the timed pass is then none of the first one's.
    if (::fsync(fd) < 0) fail("cannot fsync", path);
    ::close(fd);
    fd = open_or_fail(path, O_RDWR);
    std::uint64_t start = now_ns();
    for (std::uint64_t at = 0; at < bytes; at += block.size()) write_block(fd, block, at, path);
    print_sample(now_ns() - start, {{"bytes", bytes}, {"writes", bytes / block.size()}});
    ::close(fd);
}

// FOLDER COUNT
void append(char** arguments) {
    WorkFolder folder(arguments[0]);
    std::string path = folder.path() + "/log";
    std::uint64_t count = number(arguments[1]);
    std::vector<char> line = noise_block(256);
    int fd = open_or_fail(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND);
    std::uint64_t start = now_ns();
    for (std::uint64_t done = 0; done < count; ++done) {
        if (::write(fd, line.data(), line.size()) < 0) fail("cannot append to", path);
    }
    print_sample(now_ns() - start, {{"writes", count}});
    ::close(fd);
}

// FOLDER COUNT: each write makes the file longer, so that each fsync has to write a size as well. (Where only the mtime changes it
// depends on the clock's granularity whether there is anything to write, and a file system that is fast once stays fast.)
void fsync_writes(char** arguments) {
    WorkFolder folder(arguments[0]);
    std::string path = folder.path() + "/journal";
    std::uint64_t count = number(arguments[1]);
    std::vector<char> block = noise_block(4096);
    int fd = open_or_fail(path, O_RDWR | O_CREAT | O_EXCL);
    if (::fsync(fd) < 0) fail("cannot fsync", path);
    std::uint64_t start = now_ns();
    for (std::uint64_t at = 0; at < count; ++at) {
        write_block(fd, block, at * block.size(), path);
        if (::fsync(fd) < 0) fail("cannot fsync", path);
    }
    print_sample(now_ns() - start, {{"writes", count}});
    ::close(fd);
}

// ROOT LIST: the first write to each file, of one byte, from the open to the close
void write_first(char** arguments) {
    std::vector<std::string> paths;
    for (const std::string& name : read_list(arguments[1])) paths.push_back(std::string(arguments[0]) + "/" + name);
    std::uint64_t start = now_ns();
    for (const std::string& path : paths) {
        int fd = open_or_fail(path, O_RDWR);
        if (::pwrite(fd, "x", 1, 0) != 1) fail("cannot write", path);
        ::close(fd);
    }
    print_sample(now_ns() - start, {{"files", paths.size()}});
}

}  // namespace driver
