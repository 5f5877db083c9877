#include "enter/descendants.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <vector>

#include "base/unique_fd.h"

using namespace templatefs;

namespace {

[[noreturn]] void wait_for_ever() {
    ::signal(SIGTERM, SIG_IGN);
    for (;;) ::pause();
}

void tell_pid(int pipe) {
    const pid_t pid = ::getpid();
    (void)!::write(pipe, &pid, sizeof pid);
}

// A process that adopts what its children leave, and three that live below it: a child, one whose parent is gone, and one that began a session of its
// own by two forks, as daemons do.
struct Family {
    pid_t ancestor = -1;
    std::vector<pid_t> below;

    Family() {
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) < 0) return;
        UniqueFd reader(ends[0]), writer(ends[1]);
        ancestor = ::fork();
        if (ancestor == 0) {
            ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
            if (::fork() == 0) {
                tell_pid(writer.get());
                wait_for_ever();
            }
            for (bool own_session : {false, true}) {
                if (::fork() == 0) {
                    if (own_session) ::setsid();
                    if (::fork() == 0) {
                        tell_pid(writer.get());
                        wait_for_ever();
                    }
                    ::_exit(0);
                }
            }
            wait_for_ever();
        }
        writer.reset();
        for (pid_t pid = 0; below.size() < 3 && ::read(reader.get(), &pid, sizeof pid) == sizeof pid;) below.push_back(pid);
        std::sort(below.begin(), below.end());
    }

    ~Family() {
        for (pid_t pid : below) ::kill(pid, SIGKILL);
        if (ancestor > 0) {
            ::kill(ancestor, SIGKILL);
            while (::waitpid(ancestor, nullptr, 0) < 0 && errno == EINTR) {
            }
        }
    }
};

}  // namespace

TEST_CASE("what a process has started is found, however it has hidden, and killed; others are not") {
    UniqueFd proc(::open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    Family family, others;
    REQUIRE(family.below.size() == 3);
    REQUIRE(others.below.size() == 3);

    auto found = descendants_of(proc.get(), family.ancestor);
    REQUIRE(found.ok());
    // Parents that have ended are no processes any more.
    std::vector<pid_t> pids = found.take();
    std::sort(pids.begin(), pids.end());
    CHECK(pids == family.below);

    CHECK(kill_descendants(proc.get(), family.ancestor, 10'000).ok());
    CHECK(descendants_of(proc.get(), family.ancestor).value().empty());
    CHECK(::kill(family.ancestor, 0) == 0);
    CHECK(descendants_of(proc.get(), others.ancestor).value().size() == 3);
    CHECK(kill_descendants(proc.get(), family.ancestor, 0).ok());
}

TEST_CASE("without a list of processes nothing is killed") {
    Family family;
    REQUIRE(family.below.size() == 3);
    UniqueFd empty(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    CHECK(descendants_of(empty.get(), family.ancestor).value().empty());
    CHECK(descendants_of(-1, family.ancestor).error_code() == EBADF);
    CHECK(kill_descendants(-1, family.ancestor, 10).error_code() == EBADF);
    for (pid_t pid : family.below) CHECK(::kill(pid, 0) == 0);
}
