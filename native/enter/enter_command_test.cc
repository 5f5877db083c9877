#include "enter/enter_command.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <string>
#include <vector>

#include "base/failure.h"
#include "base/unique_fd.h"
#include "enter/descendants.h"
#include "enter/running_container.h"
#include "testing/temp_folder.h"

using namespace templatefs;
using namespace templatefs::testing;

namespace {

constexpr int kNamespaces = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET;
// What the container must not have, so that what enters it has not either: each lets a process look into others (CAP_PERFMON and CAP_SYS_ADMIN on
// kernels since 6.13).
constexpr unsigned long kTaken[] = {CAP_SYS_PTRACE, CAP_PERFMON, CAP_SYS_ADMIN};

// The first process of a small container: the host's programs, read-only, on a root of its own.
[[noreturn]] void be_first(const std::string& root, const std::string& usr, const std::string& proc, const std::string& null, int ready) {
    // Nothing that is mounted here may come to the host's namespace: its folders are removed later.
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0) ::_exit(1);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (::mount("/usr", usr.c_str(), nullptr, MS_BIND, nullptr) < 0) ::_exit(2);
    if (::mount(nullptr, usr.c_str(), nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr) < 0) ::_exit(3);
    if (::mount("proc", proc.c_str(), "proc", 0, nullptr) < 0) ::_exit(4);
    if (::mount("/dev/null", null.c_str(), nullptr, MS_BIND, nullptr) < 0) ::_exit(7);
    if (::chdir(root.c_str()) < 0 || ::chroot(".") < 0) ::_exit(5);
    for (unsigned long capability : kTaken)
        if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0) ::_exit(6);
    ::signal(SIGCHLD, SIG_IGN);
    (void)!::write(ready, "", 1);
    for (;;) ::pause();
}

struct Container {
    TempFolder folder;
    std::string root = folder.at("root");
    pid_t first = -1;

    Container() {
        for (const char* name : {"root/usr", "root/proc", "root/run", "root/tmp", "input"}) folder.make_folders(name);
        for (const char* name : {"bin", "sbin", "lib", "lib64"}) (void)!::symlink((std::string("usr/") + name).c_str(), (root + "/" + name).c_str());
        folder.write("input/package", "a package\n");
        folder.write("root/dev/null", "");
        const std::string usr = root + "/usr", proc = root + "/proc", null = root + "/dev/null";
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) < 0) return;
        UniqueFd reader(ends[0]), writer(ends[1]);
        first = static_cast<pid_t>(::syscall(SYS_clone, kNamespaces | SIGCHLD, 0, 0, 0, 0));
        if (first == 0) be_first(root, usr, proc, null, writer.get());
        writer.reset();
        char byte;
        if (::read(reader.get(), &byte, 1) != 1) end();
    }

    ~Container() { end(); }

    void end() {
        if (first < 0) return;
        ::kill(first, SIGKILL);
        while (::waitpid(first, nullptr, 0) < 0 && errno == EINTR) {
        }
        first = -1;
    }

    size_t processes() const {
        UniqueFd proc(::open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        auto found = descendants_of(proc.get(), first);
        return found.ok() ? found.value().size() : 0;
    }

    // Those that were killed may take a moment to be gone, those that were left a moment to have another parent.
    bool processes_become(size_t count) const {
        for (int tries = 0; tries < 5000 && processes() != count; tries++) ::usleep(2000);
        return processes() == count;
    }
};

// A filter that answers mkdir and mkdirat with ENOLINK.
UniqueFd write_filter() {
    UniqueFd file(static_cast<int>(::syscall(SYS_memfd_create, "filter", MFD_CLOEXEC)));
    const sock_filter text[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
#ifdef SYS_mkdir
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mkdir, 1, 0),
#else
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mkdirat, 1, 0),
#endif
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mkdirat, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOLINK),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    if (::write(file.get(), text, sizeof text) != sizeof text || ::lseek(file.get(), 0, SEEK_SET) < 0) file.reset();
    return file;
}

struct Entered {
    pid_t pid = -1;
    UniqueFd lifeline, output;

    std::string all_output() {
        std::string text;
        char piece[4096];
        for (ssize_t size; (size = ::read(output.get(), piece, sizeof piece)) > 0;) text.append(piece, static_cast<size_t>(size));
        return text;
    }

    int status() {
        int status = 0;
        while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
        }
        return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
    }
};

// Runs `templatefs-engine enter` in a process of its own.
Entered enter(const std::string& root, pid_t first, const std::string& input, const std::string& script, int filter = -1) {
    int line[2], ends[2];
    Entered entered;
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, line) < 0 || ::pipe2(ends, O_CLOEXEC) < 0) return entered;
    entered.lifeline.reset(line[0]);
    entered.output.reset(ends[0]);
    UniqueFd theirs(line[1]), writer(ends[1]);
    std::vector<std::string> words = {"--root", root, "--pid", std::to_string(first), "--lifeline", std::to_string(theirs.get()), "--work-bytes", "1048576"};
    if (!input.empty()) words.insert(words.end(), {"--input", input});
    if (filter >= 0) words.insert(words.end(), {"--filter", std::to_string(filter)});
    words.insert(words.end(), {"--", "/bin/sh", "-c", script});
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    // What the test's own output still holds back would be written by the child, too.
    std::fflush(nullptr);
    entered.pid = ::fork();
    if (entered.pid == 0) {
        ::dup2(writer.get(), 1);
        // The sanitizers may have a thread of their own, which shares the root folder with this one.
        if (::unshare(CLONE_FS) < 0) ::_exit(99);
        ::_exit(run_enter(static_cast<int>(argv.size()) - 1, argv.data()));
    }
    return entered;
}

std::string said(const Entered& entered) {
    std::string text;
    char piece[256];
    for (ssize_t size; (size = ::recv(entered.lifeline.get(), piece, sizeof piece, MSG_DONTWAIT)) > 0;) text.append(piece, static_cast<size_t>(size));
    return text;
}

}  // namespace

TEST_CASE("what /proc says of a process is read strictly") {
    const std::string good = "Name:\tsh\nNSpid:\t4711\t1\nCapBnd:\t00000000a80425fb\nNoNewPrivs:\t1\n";
    auto status = parse_process_status(good);
    REQUIRE(status.ok());
    CHECK(status.value().bounding_set == 0xa80425fb);
    CHECK(status.value().no_new_privileges);
    CHECK(status.value().is_first);
    // The first of the reader's own namespace, and one that is not the first.
    for (const char* pids : {"1", "4711", "4711\t11", "4711\t2"}) {
        auto other = parse_process_status("NSpid:\t" + std::string(pids) + "\nCapBnd:\t0\nNoNewPrivs:\t0\n");
        REQUIRE(other.ok());
        CHECK_FALSE(other.value().is_first);
    }
    for (const char* name : {"NSpid", "CapBnd", "NoNewPrivs"}) {
        std::string without = good;
        without.replace(without.find(name), 1, "x");
        CHECK(parse_process_status(without).error_code() == EUCLEAN);
    }
    for (const char* text : {"", "NSpid:\t2\t1\nCapBnd:\txyz\nNoNewPrivs:\t1\n", "NSpid:\t2\t1\nCapBnd:\t1 2\nNoNewPrivs:\t1\n", "NSpid:\t2\t1\nCapBnd:\t1\nNoNewPrivs:\t2\n"})
        CHECK(parse_process_status(text).error_code() == EUCLEAN);
}

TEST_CASE("only the first process of a pid namespace, with that root, is a container's") {
    Container container;
    REQUIRE(container.first > 0);
    auto found = open_running(container.root, container.first);
    REQUIRE(found.ok());
    CHECK(found.value().namespaces == kNamespaces);
    CHECK_FALSE(found.value().has_user_namespace);
    for (unsigned long capability : kTaken) CHECK((found.value().capabilities >> capability & 1) == 0);
    CHECK((found.value().capabilities >> CAP_CHOWN & 1) == 1);
    CHECK(open_running(container.folder.path(), container.first).error_code() == ESRCH);
    CHECK(open_running(container.root + "/nothing", container.first).error_code() == ENOENT);
    // This process is no container's.
    CHECK(open_running("/", ::getpid()).error_code() == ESRCH);
    const pid_t ended = container.first;
    container.end();
    CHECK_FALSE(open_running(container.root, ended).ok());
}

TEST_CASE("a program in a running container has what that has, the packages, and nothing of the host") {
    Container container;
    REQUIRE(container.first > 0);
    UniqueFd filter = write_filter();
    Entered entered = enter(container.root, container.first, container.folder.at("input"), R"sh(
        cat /run/templatefs/package
        echo x 2>/dev/null > /run/templatefs/package || echo read-only
        echo x > /run/templatefs-work/file && cat /run/templatefs-work/file
        ls /proc/self/fd | tr '\n' ' '; echo
        mkdir /tmp/folder 2>/dev/null || echo filtered
        [ "$(grep CapBnd /proc/self/status)" = "$(grep CapBnd /proc/1/status)" ] && echo as-first
        for name in mnt pid ipc uts net; do readlink /proc/self/ns/$name; done
        # The one of ours that is seen from here can be neither read nor traced; what it has open has numbers, and no more.
        cat /proc/$PPID/environ 2>/dev/null; readlink /proc/$PPID/fd/*; ls /proc/$PPID/root/ 2>/dev/null
        [ ! -e /input ] && pwd
    )sh", filter.get());
    REQUIRE(entered.pid > 0);
    // 3 is the folder that ls reads.
    std::string namespaces;
    for (const char* name : {"mnt", "pid", "ipc", "uts", "net"}) {
        char text[64];
        const ssize_t size = ::readlink(("/proc/" + std::to_string(container.first) + "/ns/" + name).c_str(), text, sizeof text);
        REQUIRE(size > 0);
        namespaces.append(text, static_cast<size_t>(size)).append("\n");
    }
    CHECK(entered.all_output() == "a package\nread-only\nx\n0 1 2 3 \nfiltered\nas-first\n" + namespaces + "/\n");
    CHECK(entered.status() == 0);
    CHECK(said(entered) == "started\nended 0\n");
    for (const char* name : {"root/run/templatefs", "root/run/templatefs-work", "root/tmp/folder"}) CHECK_FALSE(container.folder.exists(name));
    CHECK(container.folder.read("input/package") == "a package\n");
    CHECK(container.processes() == 0);
}

TEST_CASE("what a program leaves lives on when it succeeds, and is killed when it fails") {
    Container container;
    REQUIRE(container.first > 0);
    const std::string leave = "(setsid sleep 1000 >/dev/null 2>&1 &) ; sleep 1000 >/dev/null 2>&1 & ";
    Entered good = enter(container.root, container.first, "", leave + "exit 0");
    REQUIRE(good.pid > 0);
    CHECK(good.status() == 0);
    CHECK(said(good) == "started\nended 0\n");
    CHECK(container.processes_become(2));

    Entered bad = enter(container.root, container.first, "", leave + "exit 7");
    REQUIRE(bad.pid > 0);
    CHECK(bad.status() == 7);
    CHECK(said(bad) == "started\nended 7\n");
    // Only what was there before.
    CHECK(container.processes_become(2));

    Entered killed = enter(container.root, container.first, "", leave + "kill -KILL $$");
    REQUIRE(killed.pid > 0);
    CHECK(killed.status() == 128 + SIGKILL);
    CHECK(container.processes_become(2));
}

TEST_CASE("when the caller is gone, all that a program has started is killed") {
    Container container;
    REQUIRE(container.first > 0);
    Entered entered = enter(container.root, container.first, container.folder.at("input"),
                            "trap '' TERM INT HUP; (setsid sleep 1000 >/dev/null 2>&1 &); echo started; while :; do sleep 1000; done");
    REQUIRE(entered.pid > 0);
    char text[8];
    CHECK(::read(entered.output.get(), text, sizeof text) == 8);
    CHECK(container.folder.exists("root/run/templatefs"));
    entered.lifeline.reset();
    CHECK(entered.status() == 128 + SIGKILL);
    CHECK(container.processes_become(0));
    CHECK_FALSE(container.folder.exists("root/run/templatefs"));
}

TEST_CASE("what a killed enter has left in a container is taken away by the next; a symlink there is not followed") {
    Container container;
    REQUIRE(container.first > 0);
    Entered entered = enter(container.root, container.first, container.folder.at("input"), "echo started; sleep 1000");
    REQUIRE(entered.pid > 0);
    char text[8];
    CHECK(::read(entered.output.get(), text, sizeof text) == 8);
    ::kill(entered.pid, SIGKILL);
    CHECK(entered.status() == 1000 + SIGKILL);
    // The program has gone with it, the mounts are there.
    CHECK(container.processes_become(0));
    CHECK(container.folder.exists("root/run/templatefs"));
    Entered next = enter(container.root, container.first, container.folder.at("input"), "grep -c templatefs-work /proc/mounts");
    CHECK(next.all_output() == "1\n");
    CHECK(next.status() == 0);
    CHECK_FALSE(container.folder.exists("root/run/templatefs"));

    REQUIRE(::symlink("/tmp", (container.root + "/run/templatefs").c_str()) == 0);
    Entered refused = enter(container.root, container.first, container.folder.at("input"), "echo was here");
    CHECK(refused.all_output() == "");
    CHECK(refused.status() == kExitFailed);
    CHECK(said(refused) == "");
}

TEST_CASE("another root, an ended container and missing arguments are refused before anything is started") {
    Container container;
    REQUIRE(container.first > 0);
    Entered other = enter(container.folder.path(), container.first, "", "echo was here");
    CHECK(other.all_output() == "");
    CHECK(other.status() == kExitFailed);
    CHECK(said(other) == "");
    UniqueFd empty(static_cast<int>(::syscall(SYS_memfd_create, "empty", MFD_CLOEXEC)));
    Entered unfiltered = enter(container.root, container.first, "", "echo was here", empty.get());
    CHECK(unfiltered.all_output() == "");
    CHECK(unfiltered.status() == kExitFailed);
    const std::string root = container.root;
    const pid_t first = container.first;
    container.end();
    Entered late = enter(root, first, "", "echo was here");
    CHECK(late.all_output() == "");
    CHECK(late.status() == kExitFailed);
    for (std::vector<const char*> words : {std::vector<const char*>{"--root"}, {"--root", "/", "--pid", "1", "--lifeline", "3", "--work-bytes", "1", "--", "/bin/sh"},
                                           {"--root", "/", "--pid", "2", "--lifeline", "3", "--work-bytes", "1", "--"}}) {
        std::vector<char*> argv;
        for (const char* word : words) argv.push_back(const_cast<char*>(word));
        CHECK(run_enter(static_cast<int>(argv.size()), argv.data()) == kExitUsage);
    }
}
