#include "private/host.h"

#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>

#include "base/proc.h"

namespace templatefs {
namespace {

// asm-generic/unistd.h of Linux 6.13; Debian 12's headers end before.
constexpr long kSetxattrat = 463;
constexpr long kGetxattrat = 464;
constexpr long kListxattrat = 465;
constexpr long kRemovexattrat = 466;

struct XattrArguments {  // struct xattr_args, include/uapi/linux/xattr.h
    uint64_t value;
    uint32_t size;
    uint32_t flags;
};

// Set once the kernel has answered ENOSYS to one of the *xattrat calls.
std::atomic<bool> no_xattrat{false};
// Set once a rename has succeeded without RENAME_WHITEOUT that had failed with it.
std::atomic<bool> no_rename_whiteout{false};

// The entry through /proc, for kernels without *xattrat: an O_PATH descriptor is opened, whose /proc/self/fd name leads
// to the entry itself even when that is a symlink or a device.
class ProcPath {
public:
    static Result<ProcPath> open(Place place) {
        ProcPath path;
        path.fd_ = TRY(open_at(place.folder, place.name, O_PATH));
        std::snprintf(path.text_, sizeof path.text_, "%s%d", proc_path("self/fd/").c_str(), path.fd_.get());
        return path;
    }
    const char* c_str() const { return text_; }

private:
    UniqueFd fd_;
    char text_[32] = {};
};

bool unsupported(long result) {
    if (result >= 0 || errno != ENOSYS) return false;
    no_xattrat.store(true, std::memory_order_relaxed);
    return true;
}

}  // namespace

Result<HostStat> host_stat(Place place) {
    HostStat stat;
    if (::statx(place.folder, place.name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_BASIC_STATS | STATX_BTIME, &stat) < 0)
        return Errno::last();
    return stat;
}

Result<HostStat> host_stat_of(int fd) {
    HostStat stat;
    if (::statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &stat) < 0) return Errno::last();
    return stat;
}

Result<size_t> host_getxattr(Place place, const char* name, std::span<std::byte> value) {
    if (!no_xattrat.load(std::memory_order_relaxed)) {
        XattrArguments arguments{reinterpret_cast<uint64_t>(value.data()), static_cast<uint32_t>(value.size()), 0};
        long size = ::syscall(kGetxattrat, place.folder, place.name, AT_SYMLINK_NOFOLLOW, name, &arguments, sizeof arguments);
        if (!unsupported(size)) {
            if (size < 0) return Errno::last();
            return static_cast<size_t>(size);
        }
    }
    ProcPath path = TRY(ProcPath::open(place));
    ssize_t size = ::getxattr(path.c_str(), name, value.data(), value.size());
    if (size < 0) return Errno::last();
    return static_cast<size_t>(size);
}

Result<void> host_setxattr(Place place, const char* name, std::span<const std::byte> value, int flags) {
    if (!no_xattrat.load(std::memory_order_relaxed)) {
        XattrArguments arguments{reinterpret_cast<uint64_t>(value.data()), static_cast<uint32_t>(value.size()),
                                 static_cast<uint32_t>(flags)};
        long result = ::syscall(kSetxattrat, place.folder, place.name, AT_SYMLINK_NOFOLLOW, name, &arguments, sizeof arguments);
        if (!unsupported(result)) return checked_void(static_cast<int>(result));
    }
    ProcPath path = TRY(ProcPath::open(place));
    return checked_void(::setxattr(path.c_str(), name, value.data(), value.size(), flags));
}

Result<void> host_removexattr(Place place, const char* name) {
    if (!no_xattrat.load(std::memory_order_relaxed)) {
        long result = ::syscall(kRemovexattrat, place.folder, place.name, AT_SYMLINK_NOFOLLOW, name);
        if (!unsupported(result)) return checked_void(static_cast<int>(result));
    }
    ProcPath path = TRY(ProcPath::open(place));
    return checked_void(::removexattr(path.c_str(), name));
}

Result<size_t> host_listxattr(Place place, std::span<char> list) {
    if (!no_xattrat.load(std::memory_order_relaxed)) {
        long size = ::syscall(kListxattrat, place.folder, place.name, AT_SYMLINK_NOFOLLOW, list.data(), list.size());
        if (!unsupported(size)) {
            if (size < 0) return Errno::last();
            return static_cast<size_t>(size);
        }
    }
    ProcPath path = TRY(ProcPath::open(place));
    ssize_t size = ::listxattr(path.c_str(), list.data(), list.size());
    if (size < 0) return Errno::last();
    return static_cast<size_t>(size);
}

Result<void> host_chmod(Place place, mode_t mode) {
    // The engine is the only writer of the private area and calls this for no symlink, so nothing is followed.
    return checked_void(::fchmodat(place.folder, place.name, mode & 07777, 0));
}

Result<void> host_chown(Place place, uid_t uid, gid_t gid) {
    return checked_void(::fchownat(place.folder, place.name, uid, gid, AT_SYMLINK_NOFOLLOW));
}

Result<void> host_utimens(Place place, const timespec times[2]) {
    return checked_void(::utimensat(place.folder, place.name, times, AT_SYMLINK_NOFOLLOW));
}

Result<void> restore_times(Place place, const HostStat& before) {
    const timespec times[2] = {{before.stx_atime.tv_sec, static_cast<long>(before.stx_atime.tv_nsec)},
                               {before.stx_mtime.tv_sec, static_cast<long>(before.stx_mtime.tv_nsec)}};
    return host_utimens(place, times);
}

Result<void> host_rename(Place from, Place to, unsigned flags) {
    return checked_void(::renameat2(from.folder, from.name, to.folder, to.name, flags));
}

Result<void> host_link(Place from, Place to) {
    return checked_void(::linkat(from.folder, from.name, to.folder, to.name, 0));
}

Result<void> host_unlink(Place place, int flags) { return checked_void(::unlinkat(place.folder, place.name, flags)); }

Result<void> make_whiteout(Place place) {
    if (::mknodat(place.folder, place.name, S_IFCHR | 0, makedev(0, 0)) == 0) return {};
    if (errno != EPERM) return Errno::last();
    return checked_void(::mknodat(place.folder, place.name, S_IFIFO | 0, 0));
}

Result<void> host_rename_leaving_whiteout(Place from, Place to) {
    if (!no_rename_whiteout.load(std::memory_order_relaxed)) {
        auto renamed = host_rename(from, to, RENAME_WHITEOUT);
        if (renamed.error_code() != EINVAL && renamed.error_code() != EPERM) return renamed;
    }
    auto there = host_stat(to);
    if (!there.ok() && there.error_code() != ENOENT) return there.error();
    if (there.ok()) {
        TRY(host_rename(from, to, 0));
        TRY(make_whiteout(from));
    } else {
        // One step again: a whiteout where nothing shows, then they change places.
        TRY(make_whiteout(to));
        auto exchanged = host_rename(from, to, RENAME_EXCHANGE);
        if (!exchanged.ok()) {
            (void)host_unlink(to).ok();
            return exchanged;
        }
    }
    no_rename_whiteout.store(true, std::memory_order_relaxed);
    return {};
}

}  // namespace templatefs
