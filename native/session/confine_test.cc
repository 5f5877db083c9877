#include "session/confine.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <functional>
#include <string>

#include "base/proc.h"
#include "private/settings.h"
#include "testing/temp_folder.h"

using namespace templatefs;
using namespace templatefs::testing;

namespace {

// The errno of a call that must fail; 0 if it succeeds.
int error_of(long result) { return result < 0 ? errno : 0; }

struct Views {
    UniqueFd area, objects, proc;
};

Result<Views> make_views(const TempFolder& folder) {
    Views views;
    for (const char* name : {"private", "private/c1", "private/c2", "objects"}) {
        if (::mkdirat(folder.fd(), name, 0700) < 0) return Errno::last();
    }
    UniqueFd object = TRY(open_at(folder.fd(), "objects/content", O_WRONLY | O_CREAT, 0400));
    UniqueFd other = TRY(open_at(folder.fd(), "private/c2/secret", O_WRONLY | O_CREAT, 0600));
    views.area = TRY(detached_view(TRY(open_at(folder.fd(), "private/c1", O_RDONLY | O_DIRECTORY)).get(), false));
    views.objects = TRY(detached_view(TRY(open_at(folder.fd(), "objects", O_RDONLY | O_DIRECTORY)).get(), true));
    views.proc = TRY(detached_view(TRY(open_at(AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY)).get(), false));
    return views;
}

// Runs `check` in a confined child. Returns what it returns, or 200 and more when it could not be confined.
int in_confined_child(const Views& views, const std::function<int()>& check) {
    const pid_t child = ::fork();
    if (child == 0) {
        if (!enter_view(views.area.get(), views.proc.get()).ok()) ::_exit(201);
        if (!drop_privileges().ok()) ::_exit(202);
        if (!filter_system_calls().ok()) ::_exit(203);
        ::_exit(check());
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 210;
}

}  // namespace

TEST_CASE("a confined worker reaches its private area, and no other file of the host") {
    TempFolder folder;
    auto made = make_views(folder);
    REQUIRE(made.ok());
    const Views& views = made.value();
    const int area = views.area.get();
    const int objects = views.objects.get();
    CHECK(in_confined_child(views, [&] {
              int step = 1;
              // What it is there for.
              UniqueFd own(::openat(area, "file", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
              if (!own.valid() || ::write(own.get(), "x", 1) != 1) return step;
              step++;
              if (::fsetxattr(own.get(), "trusted.templatefs.node", "x", 1, 0) < 0) return step;
              step++;
              if (!read_small_file(AT_FDCWD, "self/status").ok()) return step;
              step++;
              // Nothing leads out of the views.
              for (const char* path : {"/etc/passwd", "/../../etc/passwd", "/proc/self/root/etc/passwd", "/../c2/secret"}) {
                  if (error_of(::openat(AT_FDCWD, path, O_RDONLY)) != ENOENT) return step;
                  step++;
              }
              for (const char* path : {"../c2/secret", "../../private/c2/secret", "../../../../etc/passwd"}) {
                  if (error_of(::openat(area, path, O_RDONLY)) != ENOENT) return step;
                  step++;
                  if (error_of(::openat(objects, path, O_RDONLY)) != ENOENT) return step;
                  step++;
              }
              // A symlink that a container made leads nowhere either.
              if (::symlinkat("/etc/passwd", area, "link") < 0 || error_of(::openat(area, "link", O_RDONLY)) != ENOENT) return step;
              step++;
              return 0;
          }) == 0);
}

TEST_CASE("a confined worker cannot change an object") {
    TempFolder folder;
    auto made = make_views(folder);
    REQUIRE(made.ok());
    const int objects = made.value().objects.get();
    const int area = made.value().area.get();
    CHECK(in_confined_child(made.value(), [&] {
              if (error_of(::openat(objects, "content", O_RDWR)) != EROFS) return 1;
              if (error_of(::openat(objects, "new", O_WRONLY | O_CREAT, 0600)) != EROFS) return 2;
              if (error_of(::unlinkat(objects, "content", 0)) != EROFS) return 3;
              if (error_of(::renameat(objects, "content", area, "content")) != EXDEV) return 4;
              if (error_of(::fchmodat(objects, "content", 0600, 0)) != EROFS) return 5;
              UniqueFd file(::openat(objects, "content", O_RDONLY | O_CLOEXEC));
              if (!file.valid()) return 6;
              // Not by another name of the same inode, which would be on a mount that can be written to.
              if (error_of(::linkat(objects, "content", area, "content", 0)) != EXDEV) return 7;
              if (error_of(::linkat(file.get(), "", area, "content", AT_EMPTY_PATH)) != EXDEV) return 8;
              if (error_of(::fchmod(file.get(), 0600)) != EROFS) return 9;
              if (error_of(::fsetxattr(file.get(), "trusted.x", "x", 1, 0)) != EROFS) return 10;
              const std::string again = "self/fd/" + std::to_string(file.get());
              if (error_of(::openat(AT_FDCWD, again.c_str(), O_RDWR)) != EROFS) return 11;
              return 0;
          }) == 0);
}

TEST_CASE("a confined worker cannot use what else root may do") {
    TempFolder folder;
    auto made = make_views(folder);
    REQUIRE(made.ok());
    const pid_t parent = ::getpid();
    CHECK(in_confined_child(made.value(), [&] {
              char* const nothing[] = {nullptr};
              int fds[2];
              // Raw calls: the sanitizers' wrappers make others besides.
              const std::function<long()> forbidden[] = {
                  [&] { return ::syscall(SYS_execve, "/bin/sh", nothing, nothing); },
                  [&] { return ::syscall(SYS_execveat, made.value().area.get(), "file", nothing, nothing, 0); },
                  [&] { return ::syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); },
                  [&] { return ::syscall(SYS_kill, parent, 0); },
                  [&] { return ::syscall(SYS_ptrace, PTRACE_ATTACH, parent, nullptr, nullptr); },
                  [&] { return ::syscall(SYS_process_vm_readv, parent, nullptr, 0, nullptr, 0, 0); },
                  [&] { return ::syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0); },
                  [&] { return ::syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, fds); },
                  [&] { return ::syscall(SYS_mount, "none", "/", "tmpfs", 0, nullptr); },
                  [&] { return ::syscall(SYS_umount2, "/", MNT_DETACH); },
                  [&] { return ::syscall(SYS_open_tree, AT_FDCWD, "/", 0); },
                  [&] { return ::syscall(SYS_move_mount, -1, "", -1, "", 0); },
                  [&] { return ::syscall(SYS_fsopen, "tmpfs", 0); },
                  [&] { return ::syscall(SYS_chroot, "."); },
                  [&] { return ::syscall(SYS_fchdir, made.value().area.get()); },
                  [&] { return ::syscall(SYS_unshare, CLONE_NEWNS); },
                  [&] { return ::syscall(SYS_setns, 0, 0); },
                  [&] { return ::syscall(SYS_open_by_handle_at, made.value().area.get(), nullptr, O_RDONLY); },
                  [&] { return ::syscall(SYS_setuid, 0); },
                  [&] { return ::syscall(SYS_bpf, 0, nullptr, 0); },
                  [&] { return ::syscall(SYS_init_module, nullptr, 0, ""); },
                  [&] { return ::syscall(SYS_reboot, 0, 0, 0, nullptr); },
                  [&] { return ::syscall(SYS_sethostname, "x", 1); },
                  [&] { return ::syscall(SYS_perf_event_open, nullptr, 0, 0, 0, 0); },
                  [&] { return ::syscall(SYS_io_uring_setup, 1, nullptr); },
                  [&] { return ::syscall(SYS_userfaultfd, 0); },
                  [&] { return ::syscall(SYS_add_key, nullptr, nullptr, nullptr, 0, 0); },
                  [&] { return ::syscall(SYS_ioctl, made.value().area.get(), FIFREEZE, 0); },
                  [&] { return ::syscall(SYS_ioctl, 0, TIOCSTI, "x"); },
              };
              int step = 1;
              for (const auto& call : forbidden) {
                  if (error_of(call()) != EPERM) return step;
                  step++;
              }
              // Device numbers work in no view.
              if (::mknodat(made.value().area.get(), "null", S_IFCHR | 0600, static_cast<dev_t>(0x103)) < 0) return 100;
              if (error_of(::openat(made.value().area.get(), "null", O_RDWR)) != EACCES) return 101;
              return 0;
          }) == 0);
}
