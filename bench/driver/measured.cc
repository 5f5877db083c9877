#include "measured.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>

namespace driver {

void fail(const char* what, const std::string& path) {
    std::fprintf(stderr, "driver: %s %s: %s\n", what, path.c_str(), std::strerror(errno));
    std::exit(1);
}

std::uint64_t now_ns() {
    timespec time{};
    ::clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(time.tv_nsec);
}

void print_sample(std::uint64_t ns, std::initializer_list<std::pair<const char*, std::uint64_t>> work) {
    std::printf("{\"ns\":%" PRIu64, ns);
    for (const auto& [name, count] : work) std::printf(",\"%s\":%" PRIu64, name, count);
    std::printf("}\n");
}

std::vector<std::string> read_list(const char* file) {
    std::ifstream stream(file);
    if (!stream) fail("cannot read", file);
    std::vector<std::string> lines;
    for (std::string line; std::getline(stream, line);) lines.push_back(line);
    return lines;
}

std::uint64_t number(const char* text) {
    char* end = nullptr;
    std::uint64_t value = std::strtoull(text, &end, 10);
    if (end == text || *end != '\0') {
        std::fprintf(stderr, "driver: not a number: %s\n", text);
        std::exit(2);
    }
    return value;
}

WorkFolder::WorkFolder(const char* parent) : path_(std::string(parent) + "/driver-XXXXXX") {
    if (::mkdtemp(path_.data()) == nullptr) fail("cannot make", path_);
    fd_ = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd_ < 0) fail("cannot open", path_);
}

WorkFolder::~WorkFolder() {
    DIR* folder = ::fdopendir(fd_);
    if (folder == nullptr) fail("cannot list", path_);
    ::rewinddir(folder);
    while (const dirent* entry = ::readdir(folder)) {
        if (entry->d_name[0] != '.' && ::unlinkat(fd_, entry->d_name, 0) < 0) fail("cannot remove", path_);
    }
    ::closedir(folder);
    if (::rmdir(path_.c_str()) < 0) fail("cannot remove", path_);
}

}  // namespace driver
