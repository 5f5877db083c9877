#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <climits>
#include <cstring>

#include "private/area_stream.h"

namespace templatefs {

static_assert(std::endian::native == std::endian::little, "numbers are written as they are");

template <class Number>
void AreaPack::put_number(Number value) {
    out_.put(std::string_view(reinterpret_cast<const char*>(&value), sizeof value));
}

void AreaPack::put_text(std::string_view text) {
    put_number(static_cast<uint16_t>(text.size()));
    out_.put(text);
}

Result<void> AreaPack::run() {
    out_.put(kAreaStreamMagic);
    put(AreaRecord::Numbers);
    auto numbers = read_small_file(area_.base(), "inos");
    if (!numbers.ok() && numbers.error_code() != ENOENT) return numbers.error();
    // What a host with another boot would start at, so that it does not depend on when the area was last in use.
    unsigned long long next = 0, reserved = kFirstPrivateIno;
    if (numbers.ok() && std::sscanf(numbers.value().c_str(), "%llu %llu", &next, &reserved) != 2) return Errno(EUCLEAN);
    put_number(uint64_t{reserved});
    if (!area_.is_untouched()) {
        TRY(pack_indexed());
        path_ = "root";
        UniqueFd folder = TRY(open_at(area_.root(), ".", O_RDONLY | O_DIRECTORY | O_NOATIME));
        put(AreaRecord::Entry);
        put_text("");
        TRY(pack_inode({folder.get(), "."}, TRY(host_stat_of(folder.get())), false, TRY(xattrs_.read(folder.get(), {})), folder.get()));
        // Depth first with one descriptor, however deep: down by name, up by "..".
        struct Level {
            std::vector<std::string> names;
            size_t next;
            size_t name_size;
            uint64_t ino;
        };
        std::vector<Level> way;
        way.push_back({TRY(sorted_names(folder.get())), 0, 0, TRY(host_stat_of(folder.get())).stx_ino});
        while (!way.empty()) {
            Level& here = way.back();
            if (here.next == here.names.size()) {
                put(AreaRecord::Up);
                path_.resize(path_.size() - std::min(path_.size(), here.name_size));
                way.pop_back();
                if (way.empty()) break;
                folder = TRY(open_at(folder.get(), "..", O_RDONLY | O_DIRECTORY));
                if (TRY(host_stat_of(folder.get())).stx_ino != way.back().ino) return Errno(EBUSY);
                continue;
            }
            const std::string name = here.names[here.next++];
            const size_t before = path_.size();
            path_ += "/" + name;
            if (!TRY(pack_entry({folder.get(), name.c_str()}))) {
                path_.resize(before);
                continue;
            }
            folder = TRY(open_at(folder.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOATIME));
            way.push_back({TRY(sorted_names(folder.get())), 0, name.size() + 1, TRY(host_stat_of(folder.get())).stx_ino});
        }
    }
    put(AreaRecord::End);
    return out_.flush();
}

Result<void> AreaPack::pack_indexed() {
    for (const std::string& name : TRY(sorted_names(area_.inodes()))) {
        path_ = "inodes/" + name;
        const Place place{area_.inodes(), name.c_str()};
        const HostStat stat = TRY(host_stat(place));
        const auto info = TRY(read_node_info(place));
        // As AreaCopy: what only an open descriptor leads to.
        if (!info || S_ISDIR(stat.stx_mode)) continue;
        if (stat.stx_nlink == 1 && (!info->indexed || info->tree_links == 0)) continue;
        put(AreaRecord::Indexed);
        UniqueFd fd;
        if (S_ISREG(stat.stx_mode)) fd = TRY(open_at(place.folder, place.name, O_RDONLY | O_NONBLOCK | O_NOATIME));
        TRY(pack_inode(place, stat, true, TRY(xattrs_.read(fd.valid() ? fd.get() : -1, place)), fd.valid() ? fd.get() : -1));
        indexed_.emplace(stat.stx_ino, info->ino);
    }
    return {};
}

// true: it is a folder, whose entries come next.
Result<bool> AreaPack::pack_entry(Place place) {
    const HostStat stat = TRY(host_stat(place));
    const auto known = S_ISDIR(stat.stx_mode) || stat.stx_nlink < 2 ? indexed_.end() : indexed_.find(stat.stx_ino);
    if (known != indexed_.end()) {
        put(AreaRecord::Link);
        put_text(place.name);
        put_number(known->second);
        return false;
    }
    UniqueFd fd;
    if (S_ISREG(stat.stx_mode) || S_ISDIR(stat.stx_mode)) fd = TRY(open_at(place.folder, place.name, O_RDONLY | O_NONBLOCK | O_NOATIME));
    const int open = fd.valid() ? fd.get() : -1;
    const std::vector<Xattr> xattrs = TRY(xattrs_.read(open, place));
    const bool has_info = std::any_of(xattrs.begin(), xattrs.end(), [](const Xattr& xattr) { return xattr.name == kNodeXattr; });
    if (!has_info && is_whiteout_device(stat)) {
        put(AreaRecord::Whiteout);
        put_text(place.name);
        return false;
    }
    put(AreaRecord::Entry);
    put_text(place.name);
    TRY(pack_inode(place, stat, false, xattrs, open));
    return S_ISDIR(stat.stx_mode);
}

Result<void> AreaPack::pack_inode(Place place, const HostStat& stat, bool indexed, const std::vector<Xattr>& xattrs, int fd) {
    put_number(uint32_t{stat.stx_mode});
    put_number(uint32_t{stat.stx_uid});
    put_number(uint32_t{stat.stx_gid});
    const bool device = S_ISCHR(stat.stx_mode) || S_ISBLK(stat.stx_mode);
    put_number(uint32_t{device ? stat.stx_rdev_major : 0});
    put_number(uint32_t{device ? stat.stx_rdev_minor : 0});
    put_number(int64_t{stat.stx_mtime.tv_sec});
    put_number(uint32_t{stat.stx_mtime.tv_nsec});
    put_number(static_cast<uint32_t>(fd >= 0 ? file_flags(fd) : 0));
    put_number(uint64_t{S_ISREG(stat.stx_mode) ? stat.stx_size : 0});
    std::string target;
    if (S_ISLNK(stat.stx_mode)) {
        char text[PATH_MAX];
        const ssize_t size = ::readlinkat(place.folder, place.name, text, sizeof text);
        if (size < 0) return Errno::last();
        if (static_cast<size_t>(size) >= sizeof text) return Errno(ENAMETOOLONG);
        target.assign(text, static_cast<size_t>(size));
    }
    put_text(target);
    std::vector<const Xattr*> sorted;
    for (const Xattr& xattr : xattrs) sorted.push_back(&xattr);
    std::sort(sorted.begin(), sorted.end(), [](const Xattr* a, const Xattr* b) { return a->name < b->name; });
    put_number(static_cast<uint16_t>(sorted.size()));
    bool has_content = S_ISREG(stat.stx_mode);
    for (const Xattr* xattr : sorted) {
        put_text(xattr->name);
        std::span<const std::byte> value = xattr->value;
        EncodedNodeInfo encoded;
        if (xattr->name == kNodeXattr) {
            NodeInfo info = TRY(decode_node_info(value));
            if (info.is_link()) has_content = false;
            info.indexed = indexed;
            info.whole = false;  // the stream has no content of a link
            encoded = encode(info);
            value = encoded.view();
        }
        put_number(static_cast<uint32_t>(value.size()));
        out_.put(std::string_view(reinterpret_cast<const char*>(value.data()), value.size()));
    }
    if (!S_ISREG(stat.stx_mode)) return {};
    return pack_content(fd, stat, has_content);
}

Result<void> AreaPack::pack_content(int fd, const HostStat& stat, bool has_content) {
    if (has_content) {
        const std::vector<DataRange> ranges = TRY(data_of(fd));
        (void)::posix_fadvise(fd, 0, 0, ranges.size() > 1 ? POSIX_FADV_RANDOM : POSIX_FADV_SEQUENTIAL);
        buffer_.resize(kLongestData);
        for (const DataRange& range : ranges) {
            const off_t end = std::min<off_t>(range.to, static_cast<off_t>(stat.stx_size));
            for (off_t at = range.from; at < end;) {
                const size_t wanted = static_cast<size_t>(std::min<off_t>(kLongestData, end - at));
                size_t got = 0;
                while (got < wanted) {
                    const ssize_t size = ::pread(fd, buffer_.data() + got, wanted - got, at + static_cast<off_t>(got));
                    if (size < 0 && errno == EINTR) continue;
                    if (size < 0) return Errno::last();
                    if (size == 0) return Errno(EBUSY);  // shorter than a moment ago
                    got += static_cast<size_t>(size);
                }
                put_number(static_cast<uint32_t>(wanted));
                put_number(static_cast<uint64_t>(at));
                out_.put(std::string_view(buffer_.data(), wanted));
                at += static_cast<off_t>(wanted);
            }
        }
    }
    put_number(uint32_t{0});
    return {};
}

}  // namespace templatefs
