#include "private/area_copy.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstring>
#include <memory>

namespace templatefs {
namespace {

// Copying so much takes less time than a container would notice while it waits.
constexpr uint64_t kAtOnce = 1 << 20;
// Each keeps two descriptors.
constexpr size_t kMostLate = 256;

void times_of(const HostStat& stat, timespec times[2]) {
    times[0] = {stat.stx_atime.tv_sec, static_cast<long>(stat.stx_atime.tv_nsec)};
    times[1] = {stat.stx_mtime.tv_sec, static_cast<long>(stat.stx_mtime.tv_nsec)};
}

// The same bytes at the same place, with whatever holes; what is behind the end of `from` by now is left out.
Result<void> copy_range(int from, int to, DataRange range, bool& in_kernel) {
    while (in_kernel && range.from < range.to) {
        off_t in = range.from, out = range.from;
        const ssize_t size = ::copy_file_range(from, &in, to, &out, static_cast<size_t>(range.to - range.from), 0);
        if (size == 0) return {};
        if (size > 0) {
            range.from += size;
            continue;
        }
        if (errno == EINTR) continue;
        if (errno != EXDEV && errno != EINVAL && errno != EOPNOTSUPP && errno != ENOSYS) return Errno::last();
        in_kernel = false;
    }
    std::vector<char> buffer(range.from < range.to ? 256 * 1024 : 0);
    while (range.from < range.to) {
        const ssize_t size = ::pread(from, buffer.data(), std::min(buffer.size(), static_cast<size_t>(range.to - range.from)), range.from);
        if (size < 0 && errno == EINTR) continue;
        if (size < 0) return Errno::last();
        if (size == 0) return {};
        for (ssize_t done = 0; done < size;) {
            const ssize_t written = ::pwrite(to, buffer.data() + done, static_cast<size_t>(size - done), range.from + done);
            if (written < 0 && errno == EINTR) continue;
            if (written < 0) return Errno::last();
            done += written;
        }
        range.from += size;
    }
    return {};
}

}  // namespace

Result<void> AreaCopy::copy_entries() {
    for (const char* folder : {"root", "inodes", "staging"})
        TRY(checked_void(::mkdirat(to_, folder, std::strcmp(folder, "root") == 0 ? 0755 : 0700)));
    if (from_.is_untouched()) return {};
    TRY(copy_indexed());
    TRY(copy_root());
    // Last: an engine that goes on meanwhile has every number that was seen below what it has reserved by now.
    path_.clear();
    name_ = "inos";
    auto inos = read_small_file(from_.base(), "inos");
    if (!inos.ok() && inos.error_code() != ENOENT) return inos.error();
    if (inos.ok()) TRY(replace_file(to_, "inos", inos.value(), 0600, false));
    return {};
}

// Before the names, so that all of them can be links of what is there.
Result<void> AreaCopy::copy_indexed() {
    to_inodes_ = TRY(open_at(to_, "inodes", O_RDONLY | O_DIRECTORY));
    path_ = "inodes";
    FolderStream stream = TRY(open_folder_stream(from_.inodes()));
    errno = 0;
    for (const dirent* entry = ::readdir(stream.get()); entry != nullptr; errno = 0, entry = ::readdir(stream.get())) {
        if (is_dot_name(entry->d_name)) continue;
        name_ = entry->d_name;
        const Place place{from_.inodes(), entry->d_name};
        const HostStat stat = TRY(host_stat(place));
        const auto info = TRY(read_node_info(place));
        // Without a name in root/ or in the tree: an unlinked file that is or was open. An engine that starts removes it.
        if (!info || S_ISDIR(stat.stx_mode)) continue;
        if (stat.stx_nlink == 1 && (!info->indexed || info->tree_links == 0)) continue;
        TRY(copy_inode(place, {to_inodes_.get(), entry->d_name}, stat, true));
        indexed_.emplace(stat.stx_ino, entry->d_name);
    }
    return errno != 0 ? Result<void>(Errno::last()) : Result<void>();
}

// Depth first with two descriptors, however deep a container has nested its folders: down by name, up by "..".
Result<void> AreaCopy::copy_root() {
    path_ = "root";
    name_.clear();
    UniqueFd from = TRY(open_at(from_.root(), ".", O_RDONLY | O_DIRECTORY));
    UniqueFd to = TRY(open_at(to_, "root", O_RDONLY | O_DIRECTORY));
    std::vector<Level> way;
    way.push_back(TRY(copy_level(from.get(), to.get(), "", TRY(host_stat_of(from.get())))));
    for (;;) {
        if (way.back().folders.empty()) {
            TRY(end_level(from.get(), to.get(), way.back().stat));
            path_.resize(path_.size() - std::min(path_.size(), way.back().name.size() + 1));
            way.pop_back();
            if (way.empty()) return {};
            from = TRY(open_at(from.get(), "..", O_RDONLY | O_DIRECTORY));
            to = TRY(open_at(to.get(), "..", O_RDONLY | O_DIRECTORY));
            // Somebody else is at work in it.
            if (TRY(host_stat_of(from.get())).stx_ino != way.back().stat.stx_ino) return Errno(EBUSY);
            continue;
        }
        std::string name = std::move(way.back().folders.back());
        way.back().folders.pop_back();
        from = TRY(open_at(from.get(), name.c_str(), O_RDONLY | O_DIRECTORY));
        to = TRY(open_at(to.get(), name.c_str(), O_RDONLY | O_DIRECTORY));
        path_ += "/" + name;
        const HostStat stat = TRY(host_stat_of(from.get()));
        way.push_back(TRY(copy_level(from.get(), to.get(), std::move(name), stat)));
    }
}

// All that is in a folder; of the folders in it only the name.
Result<AreaCopy::Level> AreaCopy::copy_level(int from, int to, std::string name, const HostStat& stat) {
    Level here{std::move(name), stat, {}};
    FolderStream stream = TRY(open_folder_stream(from));
    errno = 0;
    for (const dirent* entry = ::readdir(stream.get()); entry != nullptr; errno = 0, entry = ::readdir(stream.get())) {
        if (is_dot_name(entry->d_name)) continue;
        name_ = entry->d_name;
        totals_.entries++;
        const HostStat found = TRY(host_stat({from, entry->d_name}));
        if (S_ISDIR(found.stx_mode)) {
            TRY(checked_void(::mkdirat(to, entry->d_name, 0700)));
            here.folders.push_back(name_);
        } else {
            TRY(copy_entry({from, entry->d_name}, {to, entry->d_name}, found));
        }
    }
    if (errno != 0) return Errno::last();
    name_.clear();
    return here;
}

// Last, because every entry changes its times, and a default ACL of its would be given to each.
Result<void> AreaCopy::end_level(int from, int to, const HostStat& stat) {
    name_.clear();
    return dress(from, to, stat, TRY(xattrs_.read(from, {from, "."})));
}

Result<void> AreaCopy::copy_entry(Place from, Place to, const HostStat& stat) {
    if (stat.stx_nlink > 1) {
        const auto known = indexed_.find(stat.stx_ino);
        if (known != indexed_.end()) return host_link({to_inodes_.get(), known->second.c_str()}, to);
    }
    return copy_inode(from, to, stat, false);
}

Result<void> AreaCopy::copy_inode(Place from, Place to, const HostStat& stat, bool indexed) {
    if (S_ISREG(stat.stx_mode)) return copy_regular(from, to, stat, indexed);
    std::vector<Xattr> xattrs = TRY(xattrs_.read(-1, from));
    const auto node = std::find_if(xattrs.begin(), xattrs.end(), [](const Xattr& xattr) { return xattr.name == kNodeXattr; });
    if (node == xattrs.end() && is_whiteout_device(stat)) return make_whiteout(to);
    if (node != xattrs.end()) {
        NodeInfo info = TRY(decode_node_info(node->value));
        info.indexed = indexed;
        const EncodedNodeInfo encoded = encode(info);
        node->value.assign(encoded.view().begin(), encoded.view().end());
    }
    return copy_special(from, to, stat, xattrs);
}

Result<void> AreaCopy::copy_regular(Place from, Place to, const HostStat& stat, bool indexed) {
    UniqueFd source = TRY(open_at(from.folder, from.name, O_RDONLY | O_NONBLOCK | O_NOATIME));
    std::vector<Xattr> xattrs = TRY(xattrs_.read(source.get(), from));
    NodeInfo info;
    for (Xattr& xattr : xattrs) {
        if (xattr.name != kNodeXattr) continue;
        info = TRY(decode_node_info(xattr.value));
        // It has a name in inodes/ exactly if it was found there; a power loss may have come between the name and the flag.
        info.indexed = indexed;
        // The content that it has kept for those that have it open stays where it is.
        info.whole = false;
        const EncodedNodeInfo encoded = encode(info);
        xattr.value.assign(encoded.view().begin(), encoded.view().end());
    }
    UniqueFd target = TRY(open_at(to.folder, to.name, O_RDWR | O_CREAT | O_EXCL, 0600));
    if (info.has_object()) totals_.links++;
    if (info.is_link() || stat.stx_size == 0) {
        if (stat.stx_size > 0) TRY(checked_void(::ftruncate(target.get(), static_cast<off_t>(stat.stx_size))));
        return dress(source.get(), target.get(), stat, xattrs);
    }
    if (!info.has_object()) totals_.contents++;
    if (!TRY(clone_content(source.get(), target.get(), stat))) {
        // A partial file only while it cannot change: which of its holes show the object must not change on the way.
        if (!info.is_partial() && stat.stx_blocks * 512 > kAtOnce && late_.size() < kMostLate) {
            late_.push_back({std::move(source), std::move(target), info, std::move(xattrs), place()});
            return {};
        }
        TRY(copy_content(source.get(), target.get(), stat, info.is_partial()));
    }
    return dress(source.get(), target.get(), stat, xattrs);
}

Result<void> AreaCopy::copy_late_contents() {
    path_.clear();
    for (LateContent& late : late_) {
        name_ = late.path;
        HostStat stat = TRY(host_stat_of(late.from.get()));
        TRY(copy_content(late.from.get(), late.to.get(), stat, false));
        // Made a link meanwhile, which is done to content that does not change: then what was read may be the holes of that.
        const auto node = TRY(xattrs_.read(late.from.get(), {}));
        for (const Xattr& xattr : node) {
            if (xattr.name != kNodeXattr) continue;
            NodeInfo now = TRY(decode_node_info(xattr.value));
            if (!now.is_link()) continue;
            now.indexed = late.info.indexed;
            now.whole = false;
            const EncodedNodeInfo encoded = encode(now);
            for (Xattr& own : late.xattrs)
                if (own.name == kNodeXattr) own.value.assign(encoded.view().begin(), encoded.view().end());
            TRY(checked_void(::ftruncate(late.to.get(), 0)));
            stat = TRY(host_stat_of(late.from.get()));
            TRY(checked_void(::ftruncate(late.to.get(), static_cast<off_t>(stat.stx_size))));
        }
        TRY(dress(late.from.get(), late.to.get(), stat, late.xattrs));
    }
    late_.clear();
    return {};
}

// true: all of it is there.
Result<bool> AreaCopy::clone_content(int from, int to, const HostStat& stat) {
    if (!can_clone_) return false;
    if (::ioctl(to, FICLONE, from) < 0) {
        if (errno == ENOSPC || errno == EDQUOT || errno == EIO || errno == EROFS) return Errno::last();
        can_clone_ = totals_.cloned;  // this file may be an exception
        return false;
    }
    totals_.cloned = true;
    totals_.bytes += stat.stx_blocks * 512;
    return true;
}

Result<void> AreaCopy::copy_content(int from, int to, const HostStat& stat, bool partial) {
    const std::vector<DataRange> ranges = TRY(data_of(from));
    if (partial) (void)::posix_fadvise(from, 0, 0, POSIX_FADV_RANDOM);
    bool in_kernel = true;
    for (const DataRange& range : ranges) {
        TRY(copy_range(from, to, range, in_kernel));
        totals_.bytes += static_cast<uint64_t>(range.to - range.from);
    }
    return checked_void(::ftruncate(to, static_cast<off_t>(stat.stx_size)));
}

Result<void> AreaCopy::copy_special(Place from, Place to, const HostStat& stat, const std::vector<Xattr>& xattrs) {
    if (S_ISLNK(stat.stx_mode)) {
        char target[PATH_MAX];
        const ssize_t size = ::readlinkat(from.folder, from.name, target, sizeof target);
        if (size < 0) return Errno::last();
        if (static_cast<size_t>(size) >= sizeof target) return Errno(ENAMETOOLONG);
        target[size] = 0;
        TRY(checked_void(::symlinkat(target, to.folder, to.name)));
    } else {
        TRY(checked_void(::mknodat(to.folder, to.name, stat.stx_mode & S_IFMT, makedev(stat.stx_rdev_major, stat.stx_rdev_minor))));
    }
    TRY(host_chown(to, stat.stx_uid, stat.stx_gid));
    if (!S_ISLNK(stat.stx_mode)) TRY(host_chmod(to, stat.stx_mode));
    for (const Xattr& xattr : xattrs) TRY(host_setxattr(to, xattr.name.c_str(), xattr.value, 0));
    return restore_times(to, stat);
}

// The owner takes set-id bits and capabilities away, so it comes first; what is set by then changes no times.
Result<void> AreaCopy::dress(int from, int to, const HostStat& stat, const std::vector<Xattr>& xattrs) {
    TRY(checked_void(::fchown(to, stat.stx_uid, stat.stx_gid)));
    TRY(checked_void(::fchmod(to, stat.stx_mode & 07777)));
    for (const Xattr& xattr : xattrs) TRY(checked_void(::fsetxattr(to, xattr.name.c_str(), xattr.value.data(), xattr.value.size(), 0)));
    timespec times[2];
    times_of(stat, times);
    TRY(checked_void(::futimens(to, times)));
    const int wanted = file_flags(from);
    if (wanted == 0) return {};
    int flags = 0;
    TRY(checked_void(::ioctl(to, FS_IOC_GETFLAGS, &flags)));
    flags = (flags & ~kFileFlags) | wanted;
    return checked_void(::ioctl(to, FS_IOC_SETFLAGS, &flags));
}

}  // namespace templatefs
