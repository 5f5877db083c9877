#include "base/unique_fd.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include "testing/temp_folder.h"

using namespace templatefs;

namespace {

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

}  // namespace

TEST_CASE("UniqueFd closes what it owns, once") {
    int number;
    {
        UniqueFd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
        REQUIRE(fd.valid());
        number = fd.get();
        UniqueFd moved(std::move(fd));
        CHECK_FALSE(fd.valid());
        CHECK(moved.get() == number);
        UniqueFd other(::open("/dev/null", O_RDONLY | O_CLOEXEC));
        int replaced = other.get();
        other = std::move(moved);
        CHECK_FALSE(is_open(replaced));
        CHECK(is_open(number));
    }
    CHECK_FALSE(is_open(number));
}

TEST_CASE("UniqueFd::release hands the descriptor over") {
    UniqueFd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    int number = fd.release();
    fd.reset();
    CHECK(is_open(number));
    ::close(number);
}

TEST_CASE("open_at closes on exec and follows no symlink") {
    testing::TempFolder folder;
    folder.write("file", std::string("x"));
    REQUIRE(::symlinkat("file", folder.fd(), "link") == 0);
    auto file = open_at(folder.fd(), "file", O_RDONLY);
    REQUIRE(file.ok());
    CHECK((::fcntl(file.value().get(), F_GETFD) & FD_CLOEXEC) != 0);
    CHECK(open_at(folder.fd(), "link", O_RDONLY).error_code() == ELOOP);
    CHECK(open_at(folder.fd(), "none", O_RDONLY).error_code() == ENOENT);
}
