#include "mount/command_lock.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "testing/temp_folder.h"

using namespace templatefs;
using namespace templatefs::testing;

namespace {

int try_in_child(const TempFolder& store, uint64_t wait_ms) {
    const pid_t child = ::fork();
    if (child == 0) {
        std::string holder;
        auto lock = CommandLock::take(store.fd(), "container-c1", "a test", wait_ms, holder);
        ::_exit(lock.ok() ? 0 : lock.error_code() == EWOULDBLOCK ? (holder.empty() ? 2 : 1) : 3);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 100;
}

Result<CommandLock> take(const TempFolder& store) {
    std::string holder;
    return CommandLock::take(store.fd(), "container-c1", "a test", 0, holder);
}

// What SQLite does for BEGIN EXCLUSIVE, and for a first read, in a process of its own; 0 when it gets its lock.
int sqlite_lock_in_child(const TempFolder& store, short type) {
    const pid_t child = ::fork();
    if (child == 0) {
        const int fd = ::open(store.at("run/.locks/container-c1").c_str(), O_RDWR | O_CLOEXEC);
        struct flock lock {};
        lock.l_type = type;
        lock.l_start = 0x40000002;
        lock.l_len = 510;
        ::_exit(::fcntl(fd, F_SETLK, &lock) == 0 ? 0 : 1);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WEXITSTATUS(status);
}

}  // namespace

TEST_CASE("a command lock keeps others out, by name, until it is let go; its holder is named") {
    TempFolder store;
    {
        auto held = take(store);
        REQUIRE(held.ok());
        CHECK(try_in_child(store, 0) == 1);
        CHECK(try_in_child(store, 20) == 1);
        CHECK(sqlite_lock_in_child(store, F_WRLCK) == 1);
        CHECK(sqlite_lock_in_child(store, F_RDLCK) == 1);
        CHECK(store.read("run/.locks/container-c1.holder-" + std::to_string(::getpid()) + "-1").find("\"command\":\"a test\"") != std::string::npos);
    }
    CHECK(try_in_child(store, 0) == 0);
    CHECK(sqlite_lock_in_child(store, F_WRLCK) == 0);
    CHECK(!store.exists("run/.locks/container-c1.holder-" + std::to_string(::getpid()) + "-1"));
}

TEST_CASE("whoever shares a command lock keeps it") {
    TempFolder store;
    UniqueFd shared;
    {
        auto held = take(store);
        REQUIRE(held.ok());
        shared = held.value().share();
        CHECK(shared.valid());
    }
    // There is no note any more that could name anybody.
    CHECK(try_in_child(store, 0) == 2);
    shared.reset();
    CHECK(try_in_child(store, 0) == 0);
    auto again = take(store);
    REQUIRE(again.ok());
    UniqueFd all = again.value().hand_over();
    CHECK(try_in_child(store, 0) == 2);
    all.reset();
    CHECK(try_in_child(store, 0) == 0);
}

TEST_CASE("a lock file that was removed guards nothing") {
    TempFolder store;
    auto held = take(store);
    REQUIRE(held.ok());
    REQUIRE(::unlink(store.at("run/.locks/container-c1").c_str()) == 0);
    CHECK(try_in_child(store, 0) == 0);
}
