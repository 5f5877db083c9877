#include "base/result.h"

#include <doctest/doctest.h>
#include <fcntl.h>

#include <memory>
#include <string>

using namespace templatefs;

namespace {

Result<int> half(int value) {
    if (value % 2 != 0) return Errno(EINVAL);
    return value / 2;
}

Result<int> quarter(int value) {
    int once = TRY(half(value));
    return TRY(half(once));
}

Result<void> must_be_even(int value) {
    TRY(half(value));
    return {};
}

}  // namespace

TEST_CASE("Result carries a value or an errno, and TRY hands the errno on") {
    CHECK(quarter(12).value() == 3);
    CHECK(quarter(6).error_code() == EINVAL);
    CHECK(quarter(5).error() == Errno(EINVAL));
    CHECK(must_be_even(2).ok());
    CHECK(must_be_even(3).error_code() == EINVAL);
    CHECK(half(4).error_code() == 0);
    CHECK_FALSE(static_cast<bool>(half(1)));
}

TEST_CASE("Result moves its value and destroys it once") {
    auto counter = std::make_shared<int>(7);
    {
        Result<std::shared_ptr<int>> first(counter);
        Result<std::shared_ptr<int>> second(std::move(first));
        CHECK(counter.use_count() == 2);
        auto taken = second.take();
        CHECK(*taken == 7);
        CHECK(counter.use_count() == 2);
    }
    CHECK(counter.use_count() == 1);
    Result<std::string> failed(Errno(ENOENT));
    Result<std::string> moved(std::move(failed));
    CHECK(moved.error_code() == ENOENT);
}

TEST_CASE("an errno of 0 is never a failure that looks like success") {
    CHECK(Errno(0).value == EIO);
    Result<void> result = Errno(0);
    CHECK_FALSE(result.ok());
}

TEST_CASE("checked wraps a system call") {
    errno = 0;
    auto bad = checked(::open("/nowhere/at/all", O_RDONLY | O_CLOEXEC));
    CHECK(bad.error_code() == ENOENT);
    CHECK(checked(5).value() == 5);
    errno = EPERM;
    CHECK(checked_void(-1).error_code() == EPERM);
    CHECK(checked_void(0).ok());
}
