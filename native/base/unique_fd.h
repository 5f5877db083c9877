#pragma once
#include <fcntl.h>
#include <unistd.h>

#include <utility>

#include "base/result.h"

namespace templatefs {

// Owns one file descriptor and closes it.
class UniqueFd {
public:
    UniqueFd() = default;
    explicit UniqueFd(int fd) : fd_(fd) {}
    UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    UniqueFd& operator=(UniqueFd&& other) noexcept {
        if (this != &other) reset(std::exchange(other.fd_, -1));
        return *this;
    }
    UniqueFd(const UniqueFd&) = delete;
    UniqueFd& operator=(const UniqueFd&) = delete;
    ~UniqueFd() { reset(); }

    int get() const { return fd_; }
    bool valid() const { return fd_ >= 0; }
    int release() { return std::exchange(fd_, -1); }
    void reset(int fd = -1) {
        if (fd_ >= 0) ::close(fd_);
        fd_ = fd;
    }

private:
    int fd_ = -1;
};

// openat(2) that always adds O_CLOEXEC and O_NOFOLLOW. `name` is one path component or a path of our own making.
inline Result<UniqueFd> open_at(int dir, const char* name, int flags, mode_t mode = 0) {
    int fd = ::openat(dir, name, flags | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0) return Errno::last();
    return UniqueFd(fd);
}

}  // namespace templatefs
