#include "enter/enter_command.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <string>
#include <utility>

#include "base/failure.h"
#include "base/unique_fd.h"
#include "enter/container_mounts.h"
#include "enter/descendants.h"
#include "enter/running_container.h"
#include "enter/warden.h"
#include "tools/options.h"

// Runs a program in the namespaces of a running container.
//
//   keeper   this process. It stays in the host's pid namespace, so the container does not see it, and keeps what it was given: it places the
//            mounts, kills, and takes the mounts away
//   warden   its child in the container's pid namespace, with no more rights than the container has
//   program  the warden's child: hostile code
//
// Neither keeper nor warden can be traced from the container: they are not dumpable until the program is started.

namespace templatefs {
namespace {

constexpr uint64_t kKillPatienceMs = 10'000;

// A program as bwrap --seccomp takes it: an array of struct sock_filter.
Result<std::vector<sock_filter>> read_filter(int fd) {
    std::string bytes;
    char buffer[4096];
    for (;;) {
        const ssize_t size = ::read(fd, buffer, sizeof buffer);
        if (size < 0 && errno == EINTR) continue;
        if (size < 0) return Errno::last();
        if (size == 0) break;
        bytes.append(buffer, static_cast<size_t>(size));
        if (bytes.size() > BPF_MAXINSNS * sizeof(sock_filter)) return Errno(E2BIG);
    }
    if (bytes.empty() || bytes.size() % sizeof(sock_filter) != 0) return Errno(EINVAL);
    std::vector<sock_filter> filter(bytes.size() / sizeof(sock_filter));
    std::memcpy(filter.data(), bytes.data(), bytes.size());
    return filter;
}

// What the caller waits for. It may be gone: that is seen where it matters.
void tell(int lifeline, const std::string& line) { (void)!::send(lifeline, line.data(), line.size(), MSG_NOSIGNAL); }

// True when the program ended: then `status` is its own. False when the caller has gone, or the container.
bool wait_for_program(int lifeline, int report, int& status) {
    for (;;) {
        pollfd wanted[] = {{lifeline, POLLIN, 0}, {report, POLLIN, 0}};
        if (::poll(wanted, 2, -1) < 0) {
            if (errno == EINTR) continue;
            return false;
        }
        if (wanted[1].revents != 0) return ::read(report, &status, sizeof status) == sizeof status;
        if (wanted[0].revents != 0) return false;
    }
}

int run_program(const RunningContainer& container, ContainerMounts& mounts, WardenOptions& options, int lifeline) {
    UniqueFd proc(::open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!proc.valid()) return fail(kExitFailed, "FAILED", "cannot open /proc: %s", errno_text(Errno::last()));
    if (auto joined = join(container); !joined.ok())
        return fail(kExitFailed, "FAILED", "cannot join the namespaces of the container: %s", errno_text(joined.error()));
    // Changing the user makes a process dumpable as the host says.
    (void)::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    int ends[2];
    const auto placed = mounts.place();
    if (!placed.ok() || ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
        const Errno error = placed.ok() ? Errno::last() : placed.error();
        mounts.remove();
        return fail(kExitFailed, "FAILED", "cannot show the packages in /run of the container: %s", errno_text(error));
    }
    UniqueFd report(ends[0]), wardens(ends[1]);
    const pid_t warden = ::fork();
    if (warden == 0) {
        report.reset();
        run_warden(options, std::move(wardens));
    }
    wardens.reset();
    int status = 0;
    bool ended = false;
    if (warden > 0) {
        tell(lifeline, "started\n");
        ended = wait_for_program(lifeline, report.get(), status);
        // What was started for good lives on with the container's first process. What failed, or is to be undone, does not go on.
        if (!ended || status != 0) {
            if (auto killed = kill_descendants(proc.get(), warden, kKillPatienceMs); !killed.ok())
                (void)fail(kExitFailed, "FAILED", "processes in the container do not end: %s", errno_text(killed.error()));
        }
        ::kill(warden, SIGKILL);
        while (::waitpid(warden, nullptr, 0) < 0 && errno == EINTR) {
        }
    }
    mounts.remove();
    if (warden < 0) return fail(kExitFailed, "FAILED", "no process in the container");
    if (!ended) return 128 + SIGKILL;
    const int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    tell(lifeline, "ended " + std::to_string(code) + "\n");
    return code;
}

}  // namespace

int run_enter(int argc, char** argv) {
    int end = 0;
    while (end < argc && std::strcmp(argv[end], "--") != 0) end++;
    Options options(end, argv);
    std::string root, input;
    uint64_t pid = 0, lifeline = 0, filter = 0, work_bytes = 0;
    const bool complete = options.value("--root", root) && options.number("--pid", pid) && options.number("--lifeline", lifeline) &&
                          options.number("--filter", filter) && options.number("--work-bytes", work_bytes);
    (void)options.value("--input", input);
    if (!complete || pid < 2 || pid > 1U << 30 || lifeline < 3 || lifeline > 255 || filter > 255 || work_bytes == 0 || options.rest() != nullptr ||
        end + 1 >= argc)
        return fail(kExitUsage, "USAGE", "enter --root DIR --pid N --lifeline FD [--filter FD] --work-bytes N [--input DIR] -- PROGRAM [ARGUMENT]...");
    WardenOptions warden;
    warden.program = argv + end + 1;
    if (filter != 0) {
        UniqueFd source(static_cast<int>(filter));
        auto read = read_filter(source.get());
        if (!read.ok()) return fail(kExitFailed, "FAILED", "cannot read the system call filter: %s", errno_text(read.error()));
        warden.filter = read.take();
    }
    // Nothing of the host goes in but the three standard descriptors.
    for (unsigned fd = 3; fd < 1024; fd++)
        if (fd != lifeline) ::close(static_cast<int>(fd));
    (void)::syscall(SYS_close_range, 1024, ~0U, 0);
    (void)::fcntl(static_cast<int>(lifeline), F_SETFD, FD_CLOEXEC);
    (void)::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    auto found = open_running(root, static_cast<pid_t>(pid));
    if (!found.ok()) return fail(kExitFailed, "FAILED", "process %d does not run in %s any more: %s", static_cast<int>(pid), root.c_str(), errno_text(found.error()));
    const RunningContainer container = found.take();
    warden.capabilities = container.capabilities;
    warden.no_new_privileges = container.no_new_privileges;
    auto made = ContainerMounts::make(input, work_bytes, container.root_uid, container.root_gid);
    if (!made.ok()) return fail(kExitFailed, "FAILED", "cannot make the mounts for the container: %s", errno_text(made.error()));
    ContainerMounts mounts = made.take();
    return run_program(container, mounts, warden, static_cast<int>(lifeline));
}

}  // namespace templatefs
