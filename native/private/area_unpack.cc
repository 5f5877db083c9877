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

#include "private/area_stream.h"

namespace templatefs {
namespace {

constexpr size_t kMostXattrs = 4096;
constexpr size_t kLongestXattr = 64 * 1024;

// Of ours, only the one that every entry has.
bool may_have(std::string_view xattr) {
    if (xattr.starts_with(kOwnXattrPrefix)) return xattr == kNodeXattr;
    return xattr.starts_with("user.") || xattr.starts_with("trusted.") || xattr.starts_with("security.") || xattr == "system.posix_acl_access" ||
           xattr == "system.posix_acl_default";
}

bool is_known_type(uint32_t mode) {
    return S_ISREG(mode) || S_ISDIR(mode) || S_ISLNK(mode) || S_ISCHR(mode) || S_ISBLK(mode) || S_ISFIFO(mode) || S_ISSOCK(mode);
}

}  // namespace

Result<void> AreaUnpack::read_bytes(void* to, size_t size) {
    char* out = static_cast<char*>(to);
    input_.resize(256 * 1024);
    while (size > 0) {
        if (begin_ == end_) {
            const ssize_t got = ::read(from_, input_.data(), input_.size());
            if (got < 0 && errno == EINTR) continue;
            if (got < 0) return Errno::last();
            if (got == 0) return Errno(EBADMSG);
            begin_ = 0;
            end_ = static_cast<size_t>(got);
        }
        const size_t part = std::min(size, end_ - begin_);
        std::memcpy(out, input_.data() + begin_, part);
        begin_ += part;
        out += part;
        size -= part;
    }
    return {};
}

template <class Number>
Result<Number> AreaUnpack::read_number() {
    Number value;
    TRY(read_bytes(&value, sizeof value));
    return value;
}

// A name that can be one, behind all that the folder has: then none comes twice, and none leads elsewhere.
Result<std::string> AreaUnpack::read_name(Level* folder) {
    const auto size = TRY(read_number<uint16_t>());
    if (size > NAME_MAX) return Errno(EBADMSG);
    std::string name(size, '\0');
    TRY(read_bytes(name.data(), size));
    if (folder == nullptr) return name.empty() ? Result<std::string>(std::move(name)) : Errno(EBADMSG);
    if (name.empty() || name.find('/') != std::string::npos || name.find('\0') != std::string::npos || is_dot_name(name.c_str())) return Errno(EBADMSG);
    if (name <= folder->last) return Errno(EBADMSG);
    folder->last = name;
    return name;
}

Result<AreaUnpack::Inode> AreaUnpack::read_inode() {
    Inode inode;
    inode.mode = TRY(read_number<uint32_t>());
    inode.uid = TRY(read_number<uint32_t>());
    inode.gid = TRY(read_number<uint32_t>());
    inode.rdev_major = TRY(read_number<uint32_t>());
    inode.rdev_minor = TRY(read_number<uint32_t>());
    inode.seconds = TRY(read_number<int64_t>());
    inode.nanoseconds = TRY(read_number<uint32_t>());
    inode.flags = TRY(read_number<uint32_t>());
    inode.size = TRY(read_number<uint64_t>());
    if ((inode.mode & ~uint32_t{S_IFMT | 07777}) != 0 || !is_known_type(inode.mode)) return Errno(EBADMSG);
    if (inode.uid == UINT32_MAX || inode.gid == UINT32_MAX || inode.nanoseconds > 999'999'999) return Errno(EBADMSG);
    if ((inode.flags & ~static_cast<uint32_t>(kFileFlags)) != 0) return Errno(EBADMSG);
    if (inode.size > INT64_MAX || (inode.size != 0 && !S_ISREG(inode.mode))) return Errno(EBADMSG);
    if (inode.rdev_major >= 1U << 12 || inode.rdev_minor >= 1U << 20) return Errno(EBADMSG);
    const auto target = TRY(read_number<uint16_t>());
    if (target >= PATH_MAX || (target != 0) != S_ISLNK(inode.mode)) return Errno(EBADMSG);
    inode.target.resize(target);
    TRY(read_bytes(inode.target.data(), target));
    if (inode.target.find('\0') != std::string::npos) return Errno(EBADMSG);
    const auto count = TRY(read_number<uint16_t>());
    if (count > kMostXattrs) return Errno(EBADMSG);
    for (size_t i = 0; i < count; i++) {
        Xattr xattr;
        const auto name = TRY(read_number<uint16_t>());
        if (name == 0 || name > XATTR_NAME_MAX) return Errno(EBADMSG);
        xattr.name.resize(name);
        TRY(read_bytes(xattr.name.data(), name));
        const auto size = TRY(read_number<uint32_t>());
        if (size > kLongestXattr || xattr.name.find('\0') != std::string::npos || !may_have(xattr.name)) return Errno(EBADMSG);
        if (!inode.xattrs.empty() && xattr.name <= inode.xattrs.back().name) return Errno(EBADMSG);
        xattr.value.resize(size);
        TRY(read_bytes(xattr.value.data(), size));
        if (xattr.name == kNodeXattr) {
            auto info = decode_node_info(xattr.value);
            if (!info.ok()) return Errno(EBADMSG);
            inode.info = info.take();
            inode.has_info = true;
        }
        inode.xattrs.push_back(std::move(xattr));
    }
    if (inode.has_info && inode.info.has_object() && !S_ISREG(inode.mode)) return Errno(EBADMSG);
    if (inode.has_info && inode.info.is_link() && inode.info.object.size != inode.size) return Errno(EBADMSG);
    return inode;
}

Result<void> AreaUnpack::run() {
    char magic[sizeof kAreaStreamMagic - 1];
    TRY(read_bytes(magic, sizeof magic));
    if (std::memcmp(magic, kAreaStreamMagic, sizeof magic) != 0) return Errno(EBADMSG);
    if (TRY(read_number<uint8_t>()) != static_cast<uint8_t>(AreaRecord::Numbers)) return Errno(EBADMSG);
    const auto next = TRY(read_number<uint64_t>());
    if (next < kFirstPrivateIno || next > UINT64_MAX / 2) return Errno(EBADMSG);
    for (const char* folder : {"root", "inodes", "staging"})
        TRY(checked_void(::mkdirat(to_, folder, std::strcmp(folder, "root") == 0 ? 0755 : 0700)));
    inodes_ = TRY(open_at(to_, "inodes", O_RDONLY | O_DIRECTORY));
    TRY(read_entries(next));
    char line[64];
    std::snprintf(line, sizeof line, "%20llu %20llu -\n", static_cast<unsigned long long>(next), static_cast<unsigned long long>(next));
    path_ = "inos";
    return replace_file(to_, "inos", line, 0600, false);
}

Result<void> AreaUnpack::read_entries(uint64_t next) {
    std::vector<Level> way;
    UniqueFd folder;
    bool had_root = false;
    uint64_t last_indexed = 0;
    // Each number once, and none that will be given out.
    const auto check_number = [this, next](const Inode& inode) {
        if (!inode.has_info) return true;
        return inode.info.ino < next && numbers_.insert(inode.info.ino).second;
    };
    for (;;) {
        const auto kind = static_cast<AreaRecord>(TRY(read_number<uint8_t>()));
        switch (kind) {
            case AreaRecord::Indexed: {
                Inode inode = TRY(read_inode());
                if (had_root || S_ISDIR(inode.mode) || !inode.has_info || !inode.info.indexed || inode.info.ino <= last_indexed) return Errno(EBADMSG);
                last_indexed = inode.info.ino;
                if (!check_number(inode)) return Errno(EBADMSG);
                const InodeName name(inode.info.ino);
                path_ = std::string("inodes/") + name.text;
                TRY(make_inode({inodes_.get(), name.text}, inode));
                break;
            }
            case AreaRecord::Entry: {
                if (way.empty() && had_root) return Errno(EBADMSG);
                const std::string name = TRY(read_name(way.empty() ? nullptr : &way.back()));
                const size_t before = path_.size();
                if (way.empty()) path_ = "root";
                else path_ += "/" + name;
                Inode inode = TRY(read_inode());
                if ((inode.has_info && inode.info.indexed) || !check_number(inode)) return Errno(EBADMSG);
                if (way.empty()) {
                    if (!S_ISDIR(inode.mode)) return Errno(EBADMSG);
                    had_root = true;
                    folder = TRY(open_at(to_, "root", O_RDONLY | O_DIRECTORY));
                    way.push_back({path_.size(), std::move(inode), ""});
                } else if (S_ISDIR(inode.mode)) {
                    TRY(checked_void(::mkdirat(folder.get(), name.c_str(), 0700)));
                    folder = TRY(open_at(folder.get(), name.c_str(), O_RDONLY | O_DIRECTORY));
                    way.push_back({name.size() + 1, std::move(inode), ""});
                } else {
                    TRY(make_inode({folder.get(), name.c_str()}, inode));
                    path_.resize(before);
                }
                break;
            }
            case AreaRecord::Link: {
                if (way.empty()) return Errno(EBADMSG);
                const std::string name = TRY(read_name(&way.back()));
                const auto number = TRY(read_number<uint64_t>());
                if (host_link({inodes_.get(), InodeName(number).text}, {folder.get(), name.c_str()}).error_code() == ENOENT) return Errno(EBADMSG);
                if (!host_stat({folder.get(), name.c_str()}).ok()) return Errno(EIO);
                break;
            }
            case AreaRecord::Whiteout: {
                if (way.empty()) return Errno(EBADMSG);
                const std::string name = TRY(read_name(&way.back()));
                TRY(make_whiteout({folder.get(), name.c_str()}));
                break;
            }
            case AreaRecord::Up:
                if (way.empty()) return Errno(EBADMSG);
                TRY(dress(folder.get(), way.back().inode));
                path_.resize(path_.size() - std::min(path_.size(), way.back().name_size));
                way.pop_back();
                // Nobody else knows this folder yet, so ".." is where it was made.
                if (!way.empty()) folder = TRY(open_at(folder.get(), "..", O_RDONLY | O_DIRECTORY));
                break;
            case AreaRecord::End:
                if (!way.empty()) return Errno(EBADMSG);
                // An area that was never mounted has no root folder of its own.
                return {};
            default:
                return Errno(EBADMSG);
        }
    }
}

Result<void> AreaUnpack::make_inode(Place place, const Inode& inode) {
    if (S_ISREG(inode.mode)) {
        UniqueFd fd = TRY(open_at(place.folder, place.name, O_RDWR | O_CREAT | O_EXCL, 0600));
        TRY(make_content(fd.get(), inode));
        return dress(fd.get(), inode);
    }
    // Without the xattr it would be a whiteout.
    HostStat stat{};
    stat.stx_mode = static_cast<uint16_t>(inode.mode);
    stat.stx_rdev_major = inode.rdev_major;
    stat.stx_rdev_minor = inode.rdev_minor;
    if (!inode.has_info && is_whiteout_device(stat)) return Errno(EBADMSG);
    if (S_ISLNK(inode.mode)) TRY(checked_void(::symlinkat(inode.target.c_str(), place.folder, place.name)));
    else TRY(checked_void(::mknodat(place.folder, place.name, inode.mode & S_IFMT, makedev(inode.rdev_major, inode.rdev_minor))));
    TRY(host_chown(place, inode.uid, inode.gid));
    if (!S_ISLNK(inode.mode)) TRY(host_chmod(place, inode.mode));
    for (const Xattr& xattr : inode.xattrs) TRY(host_setxattr(place, xattr.name.c_str(), xattr.value, 0));
    const timespec times[2] = {{inode.seconds, inode.nanoseconds}, {inode.seconds, inode.nanoseconds}};
    return host_utimens(place, times);
}

Result<void> AreaUnpack::make_content(int fd, const Inode& inode) {
    TRY(checked_void(::ftruncate(fd, static_cast<off_t>(inode.size))));
    uint64_t end = 0;
    for (;;) {
        const auto size = TRY(read_number<uint32_t>());
        if (size == 0) return {};
        const auto offset = TRY(read_number<uint64_t>());
        if (size > kLongestData || inode.info.is_link() || offset < end || offset > inode.size || size > inode.size - offset) return Errno(EBADMSG);
        end = offset + size;
        buffer_.resize(kLongestData);
        TRY(read_bytes(buffer_.data(), size));
        for (size_t done = 0; done < size;) {
            const ssize_t written = ::pwrite(fd, buffer_.data() + done, size - done, static_cast<off_t>(offset + done));
            if (written < 0 && errno == EINTR) continue;
            if (written < 0) return Errno::last();
            done += static_cast<size_t>(written);
        }
    }
}

Result<void> AreaUnpack::dress(int fd, const Inode& inode) {
    TRY(checked_void(::fchown(fd, inode.uid, inode.gid)));
    TRY(checked_void(::fchmod(fd, inode.mode & 07777)));
    for (const Xattr& xattr : inode.xattrs) TRY(checked_void(::fsetxattr(fd, xattr.name.c_str(), xattr.value.data(), xattr.value.size(), 0)));
    const timespec times[2] = {{inode.seconds, inode.nanoseconds}, {inode.seconds, inode.nanoseconds}};
    TRY(checked_void(::futimens(fd, times)));
    if (inode.flags == 0) return {};
    int flags = 0;
    if (::ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0) return {};  // this file system has none
    flags = (flags & ~kFileFlags) | static_cast<int>(inode.flags);
    return checked_void(::ioctl(fd, FS_IOC_SETFLAGS, &flags));
}

}  // namespace templatefs
