#include "testing/host_faults.h"

#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>

namespace templatefs::testing {
namespace {

enum class Kind {
    Look,   // changes nothing
    Change, // changes something, and needs no more space than there was
    Room,   // may take space
};

struct State {
    std::atomic<bool> armed{false};
    std::atomic<uint64_t> count{0};
    std::atomic<const char*> failed{nullptr};
    std::atomic<bool> failed_look{false};
    HostFault fault;
} state;

// Whether this call fails; errno is set then.
bool fails(const char* name, Kind kind) {
    if (!state.armed.load()) return false;
    const HostFault& fault = state.fault;
    if (kind == Kind::Look && !fault.also_looks) return false;
    const uint64_t number = state.count.fetch_add(1) + 1;
    if (fault.number == 0 || number < fault.number) return false;
    if (number > fault.number) {
        if (!fault.goes_on) return false;
        if ((fault.error == ENOSPC || fault.error == EDQUOT) && kind != Kind::Room) return false;
        if (fault.error == EROFS && kind == Kind::Look) return false;
    }
    if (fault.kills) ::kill(::getpid(), SIGKILL);
    const char* none = nullptr;
    if (state.failed.compare_exchange_strong(none, name)) state.failed_look = kind == Kind::Look;
    errno = fault.error;
    return true;
}

}  // namespace

void fail_host_call(const HostFault& fault) {
    state.fault = fault;
    state.count = 0;
    state.failed = nullptr;
    state.failed_look = false;
    state.armed = true;
}

HostCalls end_host_faults() {
    state.armed = false;
    HostCalls calls;
    calls.count = state.count;
    if (const char* name = state.failed) calls.failed = name;
    calls.failed_look = state.failed_look;
    return calls;
}

namespace {

// What a call by number is: asm-generic/unistd.h of Linux 6.13.
const char* name_of(long number, Kind& kind) {
    kind = Kind::Look;
    switch (number) {
        case 463:
            kind = Kind::Change;
            return "setxattrat";
        case 464:
            return "getxattrat";
        case 465:
            return "listxattrat";
        case 466:
            kind = Kind::Change;
            return "removexattrat";
        case SYS_getdents64:
            return "getdents64";
        default:
            return nullptr;
    }
}

bool is_regular(int fd) {
    struct stat found;
    return ::fstat(fd, &found) == 0 && S_ISREG(found.st_mode);
}

}  // namespace
}  // namespace templatefs::testing

using templatefs::testing::fails;
using templatefs::testing::Kind;

// One function of the C library: its own under __real_, ours under __wrap_. In the order result, name, kind, parameters, arguments.
#define WRAP(Result, name, kind, parameters, arguments)      \
    Result __real_##name parameters;                         \
    Result __wrap_##name parameters;                         \
    Result __wrap_##name parameters {                        \
        if (fails(#name, kind)) return static_cast<Result>(-1); \
        return __real_##name arguments;                      \
    }

extern "C" {

WRAP(int, mkdirat, Kind::Room, (int folder, const char* name, mode_t mode), (folder, name, mode))
WRAP(int, mknodat, Kind::Room, (int folder, const char* name, mode_t mode, dev_t device), (folder, name, mode, device))
WRAP(int, symlinkat, Kind::Room, (const char* target, int folder, const char* name), (target, folder, name))
WRAP(int, linkat, Kind::Room, (int from, const char* old_name, int to, const char* name, int flags), (from, old_name, to, name, flags))
WRAP(int, renameat, Kind::Change, (int from, const char* old_name, int to, const char* name), (from, old_name, to, name))
WRAP(int, renameat2, (flags & RENAME_WHITEOUT) != 0 ? Kind::Room : Kind::Change,
     (int from, const char* old_name, int to, const char* name, unsigned flags), (from, old_name, to, name, flags))
WRAP(int, unlinkat, Kind::Change, (int folder, const char* name, int flags), (folder, name, flags))
WRAP(int, fchmodat, Kind::Change, (int folder, const char* name, mode_t mode, int flags), (folder, name, mode, flags))
WRAP(int, fchownat, Kind::Change, (int folder, const char* name, uid_t uid, gid_t gid, int flags), (folder, name, uid, gid, flags))
WRAP(int, utimensat, Kind::Change, (int folder, const char* name, const struct timespec* times, int flags), (folder, name, times, flags))
WRAP(int, futimens, Kind::Change, (int fd, const struct timespec* times), (fd, times))
WRAP(int, statx, Kind::Look, (int folder, const char* name, int flags, unsigned mask, struct statx* found), (folder, name, flags, mask, found))
WRAP(ssize_t, readlinkat, Kind::Look, (int folder, const char* name, char* target, size_t size), (folder, name, target, size))
WRAP(int, fsync, Kind::Change, (int fd), (fd))
WRAP(int, fdatasync, Kind::Change, (int fd), (fd))
WRAP(int, syncfs, Kind::Change, (int fd), (fd))
WRAP(int, sync_file_range, Kind::Change, (int fd, off64_t from, off64_t length, unsigned flags), (fd, from, length, flags))
WRAP(int, fsetxattr, Kind::Change, (int fd, const char* name, const void* value, size_t size, int flags), (fd, name, value, size, flags))
WRAP(ssize_t, pread64, Kind::Look, (int fd, void* to, size_t size, off64_t offset), (fd, to, size, offset))
WRAP(ssize_t, pwrite64, Kind::Room, (int fd, const void* from, size_t size, off64_t offset), (fd, from, size, offset))
WRAP(ssize_t, pwritev64, Kind::Room, (int fd, const struct iovec* parts, int count, off64_t offset), (fd, parts, count, offset))
WRAP(int, ftruncate64, Kind::Change, (int fd, off64_t size), (fd, size))
WRAP(int, fallocate64, (mode & FALLOC_FL_PUNCH_HOLE) != 0 ? Kind::Change : Kind::Room, (int fd, int mode, off64_t offset, off64_t length),
     (fd, mode, offset, length))
WRAP(off64_t, lseek64, Kind::Look, (int fd, off64_t offset, int whence), (fd, offset, whence))
WRAP(ssize_t, copy_file_range, Kind::Room, (int from, off64_t* in, int to, off64_t* out, size_t size, unsigned flags),
     (from, in, to, out, size, flags))

ssize_t __real_write(int fd, const void* from, size_t size);
ssize_t __wrap_write(int fd, const void* from, size_t size);
ssize_t __wrap_write(int fd, const void* from, size_t size) {
    // Not what goes to the kernel, or to the terminal.
    if (templatefs::testing::is_regular(fd) && fails("write", Kind::Room)) return -1;
    return __real_write(fd, from, size);
}

int __real_openat64(int folder, const char* name, int flags, ...);
int __wrap_openat64(int folder, const char* name, int flags, ...);
int __wrap_openat64(int folder, const char* name, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    const auto mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    const bool makes = (flags & O_CREAT) != 0;
    const bool writes = (flags & O_ACCMODE) != O_RDONLY && (flags & O_PATH) == 0;
    if (fails(makes ? "openat, to make it" : "openat", makes ? Kind::Room : writes ? Kind::Change : Kind::Look)) return -1;
    return __real_openat64(folder, name, flags, mode);
}

int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...) {
    va_list rest;
    va_start(rest, request);
    void* argument = va_arg(rest, void*);
    va_end(rest);
    const bool changes = request == FICLONE || request == FS_IOC_SETFLAGS;
    if ((changes || request == FS_IOC_FIEMAP) && fails("ioctl", changes ? Kind::Room : Kind::Look)) return -1;
    return __real_ioctl(fd, request, argument);
}

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...) {
    va_list rest;
    va_start(rest, number);
    long arguments[6];
    for (long& argument : arguments) argument = va_arg(rest, long);
    va_end(rest);
    Kind kind;
    const char* name = templatefs::testing::name_of(number, kind);
    if (name != nullptr && fails(name, kind)) return -1;
    return __real_syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
}

}  // extern "C"
