#include "session/confine.h"

#include <linux/audit.h>
#include <linux/btrfs.h>
#include <linux/capability.h>
#include <linux/fiemap.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/mount.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <iterator>
#include <vector>

#include "base/capabilities.h"
#include "wire/fuse_abi.h"

namespace templatefs {
namespace {

constexpr int kKeptCapabilities[] = {
    CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID, CAP_MKNOD, CAP_SETFCAP, CAP_LINUX_IMMUTABLE,
    CAP_LEASE,
    CAP_SYS_ADMIN,  // trusted.* xattrs and backing files; what else it gives, the filter takes
};

// asm-generic/unistd.h of Linux 6.13; Debian 12's headers end before.
constexpr long kSetxattrat = 463, kGetxattrat = 464, kListxattrat = 465, kRemovexattrat = 466;
constexpr long kFchmodat2 = 452, kFaccessat2 = 439, kQuotactlFd = 443;
constexpr long kFileGetattr = 468, kFileSetattr = 469;

constexpr long kAllowed[] = {
    // files: each by a descriptor, relative to one, or below the views
    SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_pread64, SYS_pwrite64, SYS_preadv, SYS_pwritev, SYS_preadv2, SYS_pwritev2,
    SYS_openat, SYS_close, SYS_fstat, SYS_newfstatat, SYS_statx, SYS_lseek, SYS_getdents64, SYS_fstatfs, SYS_faccessat,
    SYS_unlinkat, SYS_mkdirat, SYS_mknodat, SYS_symlinkat, SYS_linkat, SYS_renameat2, SYS_readlinkat,
    SYS_fchmod, SYS_fchmodat, kFchmodat2, kFaccessat2, SYS_fchown, SYS_fchownat, SYS_utimensat, SYS_ftruncate, SYS_fallocate, SYS_copy_file_range,
    SYS_fsync, SYS_fdatasync, SYS_sync_file_range, SYS_syncfs, SYS_fadvise64, SYS_flock, SYS_fcntl, SYS_dup, SYS_dup3, SYS_umask,
    SYS_getxattr, SYS_lgetxattr, SYS_fgetxattr, SYS_setxattr, SYS_lsetxattr, SYS_fsetxattr, SYS_listxattr, SYS_llistxattr,
    SYS_flistxattr, SYS_removexattr, SYS_lremovexattr, SYS_fremovexattr,
    kSetxattrat, kGetxattrat, kListxattrat, kRemovexattrat, kFileGetattr, kFileSetattr,
    // waiting, and the control socket that it was given
    SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait, SYS_ppoll, SYS_accept4, SYS_recvfrom, SYS_sendto, SYS_recvmsg, SYS_sendmsg,
    SYS_shutdown, SYS_getsockopt,
    // itself
    SYS_mmap, SYS_munmap, SYS_mremap, SYS_mlock2, SYS_mprotect, SYS_madvise, SYS_brk, SYS_futex, SYS_sched_yield, SYS_clock_gettime,
    SYS_clock_nanosleep, SYS_nanosleep, SYS_getpid, SYS_gettid, SYS_getrandom, SYS_rt_sigaction, SYS_rt_sigprocmask,
    SYS_rt_sigreturn, SYS_sigaltstack, SYS_restart_syscall, SYS_exit, SYS_exit_group, SYS_tgkill, SYS_prlimit64, SYS_set_robust_list, SYS_getrlimit,
    kQuotactlFd,  // project quotas
#ifdef SYS_rseq
    SYS_rseq,
#endif
#ifdef SYS_open  // not there on newer architectures, which have only the *at calls; glibc still uses some of these
    SYS_stat, SYS_lstat, SYS_epoll_wait, SYS_poll, SYS_time, SYS_readlink, SYS_access, SYS_dup2, SYS_renameat,
#endif
};

constexpr uint32_t kAllowedIoctls[] = {
    FUSE_DEV_IOC_BACKING_OPEN, FUSE_DEV_IOC_BACKING_CLOSE, FICLONE, FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_IOC_FSGETXATTR,
    FS_IOC_FSSETXATTR, FS_IOC_FIEMAP, BTRFS_IOC_QGROUP_LIMIT,
};

#if defined(__x86_64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#else
#error "give this architecture's AUDIT_ARCH_ number"
#endif

constexpr uint32_t kRefuse = SECCOMP_RET_ERRNO | EPERM;

// A test and a return for each number: jumps in a classic BPF program reach only 255 instructions.
void allow_if_equal(std::vector<sock_filter>& program, uint32_t value) {
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
}

std::vector<sock_filter> filter() {
    std::vector<sock_filter> program;
    program.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)));
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kArchitecture, 1, 0));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, kRefuse));
    program.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)));
    for (long number : kAllowed) allow_if_equal(program, static_cast<uint32_t>(number));
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 1, 0));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, kRefuse));
    // The low half of the second argument: the kernel looks at no more of an ioctl's number.
    program.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[1])));
    for (uint32_t number : kAllowedIoctls) allow_if_equal(program, number);
    program.push_back(BPF_STMT(BPF_RET | BPF_K, kRefuse));
    return program;
}

}  // namespace

Result<UniqueFd> detached_view(int folder, bool read_only) {
    int fd = static_cast<int>(::syscall(SYS_open_tree, folder, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
    if (fd < 0) return Errno::last();
    UniqueFd view(fd);
    mount_attr attributes{};
    attributes.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (read_only ? MOUNT_ATTR_RDONLY : 0);
    TRY(checked_void(static_cast<int>(
        ::syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof attributes))));
    return view;
}

Result<void> enter_view(int root, int proc) {
    TRY(checked_void(::fchdir(root)));
    TRY(checked_void(::chroot(".")));
    return checked_void(::fchdir(proc));
}

Result<void> drop_privileges() {
    uint64_t kept = 0;
    for (int capability : kKeptCapabilities) kept |= uint64_t{1} << capability;
    TRY(limit_capabilities(kept));
    return checked_void(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

Result<void> filter_system_calls() {
    std::vector<sock_filter> program = filter();
    sock_fprog text{static_cast<unsigned short>(program.size()), program.data()};
    // What is refused goes to the host's audit log: it is a mistake of ours, or an attack.
    return checked_void(static_cast<int>(::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_LOG | SECCOMP_FILTER_FLAG_TSYNC, &text)));
}

}  // namespace templatefs
