#include "testing/temp_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <system_error>

namespace templatefs::testing {
namespace {

[[noreturn]] void give_up(const std::string& what) {
    std::perror(what.c_str());
    std::abort();
}

}  // namespace

TempFolder::TempFolder() {
    const char* base = std::getenv("TMPDIR");
    path_ = std::string(base != nullptr ? base : "/tmp") + "/templatefs-native-XXXXXX";
    if (::mkdtemp(path_.data()) == nullptr) give_up(path_);
    fd_ = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd_ < 0) give_up(path_);
}

TempFolder::~TempFolder() {
    ::close(fd_);
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

void TempFolder::make_folders(const std::string& name) const {
    std::error_code error;
    std::filesystem::create_directories(at(name), error);
    if (error) give_up(at(name));
}

void TempFolder::write(const std::string& name, std::span<const std::byte> content, unsigned mode) const {
    if (auto slash = name.rfind('/'); slash != std::string::npos) make_folders(name.substr(0, slash));
    int fd = ::open(at(name).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    if (fd < 0) give_up(at(name));
    size_t done = 0;
    while (done < content.size()) {
        ssize_t n = ::write(fd, content.data() + done, content.size() - done);
        if (n < 0) give_up(at(name));
        done += static_cast<size_t>(n);
    }
    ::fchmod(fd, mode);
    ::close(fd);
}

void TempFolder::write(const std::string& name, const std::string& content, unsigned mode) const {
    write(name, std::as_bytes(std::span(content)), mode);
}

std::string TempFolder::read(const std::string& name) const {
    int fd = ::open(at(name).c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) give_up(at(name));
    std::string content;
    char chunk[65536];
    for (;;) {
        ssize_t n = ::read(fd, chunk, sizeof chunk);
        if (n < 0) give_up(at(name));
        if (n == 0) break;
        content.append(chunk, static_cast<size_t>(n));
    }
    ::close(fd);
    return content;
}

bool TempFolder::exists(const std::string& name) const {
    struct stat st;
    return ::lstat(at(name).c_str(), &st) == 0;
}

}  // namespace templatefs::testing
