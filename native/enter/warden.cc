#include "enter/warden.h"

#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "base/capabilities.h"
#include "base/failure.h"
#include "base/result.h"

namespace templatefs {
namespace {

Result<void> limit(const WardenOptions& options) {
    // Before the capabilities go: one that may do without no_new_privs may need the right to set a filter.
    if (options.no_new_privileges) TRY(checked_void(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)));
    if (!options.filter.empty()) {
        sock_fprog text{static_cast<unsigned short>(options.filter.size()), const_cast<sock_filter*>(options.filter.data())};
        TRY(checked_void(static_cast<int>(::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &text))));
    }
    TRY(limit_capabilities(options.capabilities));
    TRY(checked_void(::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)));
    return checked_void(::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
}

[[noreturn]] void become(char** program, const sigset_t& signals) {
    ::sigprocmask(SIG_SETMASK, &signals, nullptr);
    (void)::syscall(SYS_close_range, 3, ~0U, 0);
    ::umask(022);
    ::execv(program[0], program);
    ::_exit(fail(static_cast<ExitStatus>(errno == ENOENT ? 127 : 126), "FAILED", "cannot start %s in the container: %s", program[0],
                 errno_text(Errno::last())));
}

}  // namespace

void run_warden(const WardenOptions& options, UniqueFd report) {
    // Nothing else that its parent holds is for a process that the container sees.
    if (report.get() != 3) {
        if (::dup3(report.get(), 3, O_CLOEXEC) < 0) ::_exit(kExitFailed);
        (void)report.release();
        report.reset(3);
    }
    (void)::syscall(SYS_close_range, 4, ~0U, 0);
    ::setsid();
    sigset_t before, waited_for;
    sigemptyset(&waited_for);
    sigaddset(&waited_for, SIGCHLD);
    ::sigprocmask(SIG_BLOCK, &waited_for, &before);
    if (auto limited = limit(options); !limited.ok())
        ::_exit(fail(kExitFailed, "FAILED", "cannot limit what a program in the container may do: %s", errno_text(limited.error())));
    UniqueFd children(::signalfd(-1, &waited_for, SFD_CLOEXEC | SFD_NONBLOCK));
    const pid_t program = children.valid() ? ::fork() : -1;
    if (program < 0) ::_exit(fail(kExitFailed, "FAILED", "no process in the container: %s", errno_text(Errno::last())));
    if (program == 0) {
        ::setpgid(0, 0);
        become(options.program, before);
    }
    for (;;) {
        pollfd wanted[] = {{children.get(), POLLIN, 0}, {report.get(), 0, 0}};
        if (::poll(wanted, 2, -1) < 0 && errno != EINTR) ::_exit(1);
        signalfd_siginfo news;
        while (::read(children.get(), &news, sizeof news) > 0) {
        }
        int status = 0;
        for (pid_t ended; (ended = ::waitpid(-1, &status, WNOHANG)) > 0;)
            if (ended == program) (void)!::write(report.get(), &status, sizeof status);
        // Its parent decides when all is over. If that was killed, at least the program goes too.
        if ((wanted[1].revents & (POLLHUP | POLLERR)) != 0) {
            ::kill(-program, SIGKILL);
            ::_exit(1);
        }
    }
}

}  // namespace templatefs
