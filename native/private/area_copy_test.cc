#include "private/area_copy.h"

#include <dirent.h>
#include <doctest/doctest.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <string>

#include "private/area_stream.h"
#include "private/node_xattr.h"
#include "testing/temp_folder.h"
#include "testing/test_store.h"
#include "testing/tree_builder.h"

using namespace templatefs;
using namespace templatefs::testing;

namespace {

constexpr uint64_t kIno = kFirstPrivateIno;

// All that can be seen of an area's entries: one line for each path, the same for equal areas.
class Description {
public:
    explicit Description(const TempFolder& folder, const std::string& area, bool access_times = true) : access_times_(access_times) {
        for (const char* part : {"root", "inodes", "staging"}) look(open_at(folder.fd(), area.c_str(), O_RDONLY | O_DIRECTORY).take(), part, part);
    }
    const std::map<std::string, std::string>& lines() const { return lines_; }

private:
    void look(const UniqueFd& parent, const std::string& name, const std::string& path) {
        const Place place{parent.get(), name.c_str()};
        const HostStat stat = host_stat(place).take();
        const bool folder = S_ISDIR(stat.stx_mode);
        std::string line = std::to_string(stat.stx_mode) + " " + std::to_string(stat.stx_uid) + ":" + std::to_string(stat.stx_gid) +
                           " nlink " + std::to_string(stat.stx_nlink) + " rdev " + std::to_string(stat.stx_rdev_major) + ":" +
                           std::to_string(stat.stx_rdev_minor);
        const auto add_time = [&line](const statx_timestamp& time) { line += " " + std::to_string(time.tv_sec) + "." + std::to_string(time.tv_nsec); };
        if (!is_whiteout_device(stat)) add_time(stat.stx_mtime);
        // Reading a symlink is an access, which no flag keeps from being noted.
        if (!is_whiteout_device(stat) && !S_ISLNK(stat.stx_mode) && access_times_) add_time(stat.stx_atime);
        if (!folder) line += " size " + std::to_string(stat.stx_size);
        // Which names are the same file.
        if (!folder) line += " inode " + inodes_.try_emplace(stat.stx_ino, path).first->second;
        char list[4096];
        const size_t size = host_listxattr(place, list).take();
        std::map<std::string, std::string> xattrs;
        for (const char* at = list; at < list + size; at += std::strlen(at) + 1) {
            std::byte value[4096];
            const size_t length = host_getxattr(place, at, value).take();
            xattrs[at] = std::string(reinterpret_cast<const char*>(value), length);
        }
        for (const auto& [key, value] : xattrs) line += " " + key + "=" + value;
        if (S_ISREG(stat.stx_mode) || folder) {
            UniqueFd fd = open_at(place.folder, place.name, O_RDONLY | O_NONBLOCK | O_NOATIME).take();
            int flags = 0;
            if (::ioctl(fd.get(), FS_IOC_GETFLAGS, &flags) == 0) line += " flags " + std::to_string(flags & (FS_NODUMP_FL | FS_SYNC_FL | FS_DIRSYNC_FL));
            if (folder) {
                lines_[path] = line;
                return look_into(fd, path);
            }
            for (off_t at = 0; (at = ::lseek(fd.get(), at, SEEK_DATA)) >= 0;) {
                const off_t end = ::lseek(fd.get(), at, SEEK_HOLE);
                std::string bytes(static_cast<size_t>(end - at), 0);
                REQUIRE(::pread(fd.get(), bytes.data(), bytes.size(), at) >= 0);
                line += " data " + std::to_string(at) + "-" + std::to_string(end) + " " + std::to_string(std::hash<std::string>()(bytes));
                at = end;
            }
        }
        if (S_ISLNK(stat.stx_mode)) {
            char target[4096];
            line += " -> " + std::string(target, static_cast<size_t>(::readlinkat(place.folder, place.name, target, sizeof target)));
        }
        lines_[path] = line;
    }

    void look_into(const UniqueFd& fd, const std::string& path) {
        UniqueFd own = open_at(fd.get(), ".", O_RDONLY | O_DIRECTORY | O_NOATIME).take();
        DIR* stream = ::fdopendir(own.release());
        std::vector<std::string> names;
        while (const dirent* entry = ::readdir(stream))
            if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0) names.emplace_back(entry->d_name);
        ::closedir(stream);
        std::sort(names.begin(), names.end());
        for (const std::string& name : names) look(fd, name, path + "/" + name);
    }

    std::map<std::string, std::string> lines_;
    std::map<uint64_t, std::string> inodes_;
    bool access_times_;
};

void put_info(const TempFolder& folder, const std::string& path, const NodeInfo& info) {
    REQUIRE(write_node_info({folder.fd(), path.c_str()}, info).ok());
}

NodeInfo own(uint64_t ino) {
    NodeInfo info;
    info.ino = ino;
    return info;
}

void set_times(const TempFolder& folder, const std::string& path, time_t seconds) {
    const timespec times[2] = {{seconds + 1, 111}, {seconds, 999'999'999}};
    REQUIRE(host_utimens({folder.fd(), path.c_str()}, times).ok());
}

struct Area {
    TempFolder folder;
    Area() {
        folder.write("private/c1/container", "templatefs-container 1\nname c1\ntree " + std::string(64, 'a') + "\n");
        folder.make_folders("copy");
    }
    PrivateArea open() { return PrivateArea::open(folder.fd(), "c1").take(); }
    std::string at(const std::string& path) const { return "private/c1/" + path; }
    UniqueFd target() { return open_at(folder.fd(), "copy", O_RDONLY | O_DIRECTORY).take(); }
};

// The area as AreaPack writes it.
std::string packed(const Area& area, const std::string& path) {
    if (!area.folder.exists(path + "/container")) area.folder.write(path + "/container", area.folder.read("private/c1/container"));
    PrivateArea opened = PrivateArea::open_base(open_at(area.folder.fd(), path.c_str(), O_RDONLY | O_DIRECTORY).take()).take();
    UniqueFd file = open_at(area.folder.fd(), "stream", O_RDWR | O_CREAT | O_TRUNC, 0600).take();
    AreaPack pack(opened, file.get());
    REQUIRE(pack.run().error_code() == 0);
    return area.folder.read("stream");
}

int unpack(const Area& area, const std::string& path, const std::string& stream) {
    area.folder.write("stream", stream);
    UniqueFd file = open_at(area.folder.fd(), "stream", O_RDONLY).take();
    UniqueFd to = open_at(area.folder.fd(), path.c_str(), O_RDONLY | O_DIRECTORY).take();
    AreaUnpack unpacking(file.get(), to.get());
    return unpacking.run().error_code();
}

}  // namespace

TEST_CASE("a copy of a private area has all that the area has") {
    if (!is_root()) return;
    Area area;
    (void)area.open();
    const int at = area.folder.fd();
    const auto path = [&](const std::string& name) { return area.at("root/" + name); };

    area.folder.write(path("own"), std::string(3'000'000, 'x'), 04755);
    put_info(area.folder, path("own"), own(kIno));
    area.folder.write(path("small"), std::string("hello"));
    put_info(area.folder, path("small"), own(kIno + 1));
    REQUIRE(::fchownat(at, path("small").c_str(), 12, 34, 0) == 0);
    area.folder.write(path("no info"), std::string("put there by hand"));

    NodeInfo link = own(18);
    link.kind = NodeInfo::Kind::Link;
    link.origin = 17;
    link.object = {object_hash(5), 2, 1'000'000'000'000};
    area.folder.write(path("link"), std::string());
    REQUIRE(::truncate(area.folder.at(path("link")).c_str(), 1'000'000'000'000) == 0);
    put_info(area.folder, path("link"), link);
    NodeInfo partial = own(19);
    partial.kind = NodeInfo::Kind::Partial;
    partial.origin = 18;
    partial.object = {object_hash(6), 0, 9'000'000};
    area.folder.write(path("partial"), std::string());
    {
        UniqueFd fd = open_at(at, path("partial").c_str(), O_RDWR).take();
        REQUIRE(::ftruncate(fd.get(), 10'000'000) == 0);
        // Zeros that are data: they hide what the object has there.
        const std::string zeros(65536, '\0');
        REQUIRE(::pwrite(fd.get(), zeros.data(), zeros.size(), 4'194'304) == 65536);
        REQUIRE(::pwrite(fd.get(), "end", 3, 9'999'990) == 3);
        REQUIRE(::fsync(fd.get()) == 0);
    }
    put_info(area.folder, path("partial"), partial);

    REQUIRE(make_whiteout({at, path("white").c_str()}).ok());
    if (::mknodat(at, path("zero").c_str(), S_IFCHR | 0600, makedev(0, 0)) == 0) put_info(area.folder, path("zero"), own(kIno + 2));
    REQUIRE(::mknodat(at, path("dev").c_str(), S_IFBLK | 0640, makedev(7, 300)) == 0);
    put_info(area.folder, path("dev"), own(kIno + 3));
    REQUIRE(::mknodat(at, path("fifo").c_str(), S_IFIFO | 0644, 0) == 0);
    put_info(area.folder, path("fifo"), own(kIno + 4));
    REQUIRE(::mknodat(at, path("socket").c_str(), S_IFSOCK | 0777, 0) == 0);
    put_info(area.folder, path("socket"), own(kIno + 5));
    const std::string target(3000, 't');
    REQUIRE(::symlinkat(target.c_str(), at, path("symlink").c_str()) == 0);
    put_info(area.folder, path("symlink"), own(kIno + 6));
    REQUIRE(::fchownat(at, path("symlink").c_str(), 7, 8, AT_SYMLINK_NOFOLLOW) == 0);

    NodeInfo merged = own(2);
    merged.origin = 1;
    area.folder.make_folders(path("merged/\xff\n"));
    put_info(area.folder, path("merged"), merged);
    REQUIRE(::chmod(area.folder.at(path("merged")).c_str(), 02771) == 0);
    // All that is made in it would get this ACL.
    const unsigned char acl[] = {2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 7, 0, 77, 0, 0, 0, 4, 0, 5, 0, 255, 255, 255, 255,
                                 16, 0, 7, 0, 255, 255, 255, 255, 32, 0, 5, 0, 255, 255, 255, 255};
    const bool acls = ::setxattr(area.folder.at(path("merged")).c_str(), "system.posix_acl_default", acl, sizeof acl, 0) == 0;
    CHECK((acls || errno == EOPNOTSUPP));
    if (acls) REQUIRE(::setxattr(area.folder.at(path("small")).c_str(), "system.posix_acl_access", acl, sizeof acl, 0) == 0);
    const unsigned char capability[] = {1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    REQUIRE(::setxattr(area.folder.at(path("own")).c_str(), kCapability, capability, sizeof capability, 0) == 0);
    REQUIRE(::setxattr(area.folder.at(path("own")).c_str(), "trusted.mine", "value", 5, 0) == 0);
    {
        UniqueFd fd = open_at(at, path("small").c_str(), O_RDONLY).take();
        int flags = FS_NODUMP_FL | FS_SYNC_FL;
        (void)::ioctl(fd.get(), FS_IOC_SETFLAGS, &flags);
    }

    // Three names, one of them in inodes/; one that the tree alone names; one that was open without a name.
    NodeInfo hard = own(kIno + 7);
    hard.indexed = true;
    const std::string hard_name = area.at(std::string("inodes/") + InodeName(hard.ino).text);
    area.folder.write(path("hard1"), std::string("linked"));
    put_info(area.folder, path("hard1"), hard);
    REQUIRE(host_link({at, path("hard1").c_str()}, {at, path("merged/hard2").c_str()}).ok());
    REQUIRE(host_link({at, path("hard1").c_str()}, {at, hard_name.c_str()}).ok());
    NodeInfo in_tree = own(21);
    in_tree.indexed = true;
    in_tree.origin = 20;
    in_tree.tree_links = 2;
    area.folder.write(area.at("inodes/00000015"), std::string("of the tree"));
    put_info(area.folder, area.at("inodes/00000015"), in_tree);
    NodeInfo gone = own(kIno + 8);
    gone.indexed = true;
    const std::string gone_name = area.at(std::string("inodes/") + InodeName(gone.ino).text);
    area.folder.write(gone_name, std::string(1'000'000, 'g'));
    put_info(area.folder, gone_name, gone);
    // Half made.
    area.folder.write(area.at("staging/s1"), std::string("rubbish"));
    area.folder.write(area.at("inos"), std::string("           268435460            268500992 boot\n"));
    area.folder.write(area.at("usage"), std::string("templatefs-usage 1\ninodes 5\n"));

    time_t time = 1'000'000'000;
    for (const char* name : {"own", "small", "no info", "link", "partial", "dev", "fifo", "socket", "symlink", "merged/\xff\n", "merged", "hard1", ""})
        set_times(area.folder, name[0] == 0 ? area.at("root") : path(name), ++time);

    PrivateArea opened = area.open();
    UniqueFd to = area.target();
    AreaCopy copy(opened, to.get());
    auto done = copy.copy_entries();
    CAPTURE(copy.place());
    REQUIRE(done.error_code() == 0);
    REQUIRE(copy.copy_late_contents().error_code() == 0);

    auto wanted = Description(area.folder, area.at("")).lines();
    wanted.erase(std::string("inodes/") + InodeName(gone.ino).text);
    wanted.erase("staging/s1");
    auto found = Description(area.folder, "copy").lines();
    // Their times are the engine's business.
    for (auto* lines : {&wanted, &found})
        for (const char* name : {"inodes", "staging"}) lines->erase(name);
    CHECK(found.size() == wanted.size());
    for (const auto& [name, line] : wanted) {
        CAPTURE(name);
        CHECK(found[name] == line);
    }
    CHECK(area.folder.read("copy/inos") == area.folder.read(area.at("inos")));
    CHECK_FALSE(area.folder.exists("copy/usage"));
    CHECK_FALSE(area.folder.exists("copy/lock"));
    CHECK(copy.totals().links == 2);
    CHECK(copy.totals().entries >= 14);

    // The same by a stream, which is the same for both.
    const std::string stream = packed(area, area.at(""));
    CHECK(packed(area, "copy") == stream);
    area.folder.make_folders("unpacked");
    REQUIRE(unpack(area, "unpacked", stream) == 0);
    CHECK(packed(area, "unpacked") == stream);
    auto unpacked = Description(area.folder, "unpacked", false).lines();
    auto without_atime = Description(area.folder, "copy", false).lines();
    for (auto* lines : {&unpacked, &without_atime})
        for (const char* name : {"inodes", "staging"}) lines->erase(name);
    CHECK(unpacked == without_atime);

    // And nothing of the area has changed.
    auto again = Description(area.folder, area.at("")).lines();
    again.erase(std::string("inodes/") + InodeName(gone.ino).text);
    again.erase("staging/s1");
    for (const char* name : {"inodes", "staging"}) again.erase(name);
    CHECK(again == wanted);
}

TEST_CASE("folders are copied however deep they are") {
    if (!is_root()) return;
    Area area;
    (void)area.open();
    constexpr int kDepth = 3000;
    UniqueFd folder = open_at(area.folder.fd(), area.at("root").c_str(), O_RDONLY | O_DIRECTORY).take();
    for (int depth = 0; depth < kDepth; depth++) {
        REQUIRE(::mkdirat(folder.get(), "d", 0700) == 0);
        folder = open_at(folder.get(), "d", O_RDONLY | O_DIRECTORY).take();
    }
    PrivateArea opened = area.open();
    UniqueFd to = area.target();
    AreaCopy copy(opened, to.get());
    REQUIRE(copy.copy_entries().error_code() == 0);
    CHECK(copy.totals().entries == kDepth);
    folder = open_at(to.get(), "root", O_RDONLY | O_DIRECTORY).take();
    for (int depth = 0; depth < kDepth; depth++) {
        auto next = open_at(folder.get(), "d", O_RDONLY | O_DIRECTORY);
        REQUIRE(next.ok());
        folder = next.take();
    }
}

TEST_CASE("a broken node xattr ends a copy, which says where") {
    if (!is_root()) return;
    Area area;
    (void)area.open();
    area.folder.write(area.at("root/a/b"), std::string("x"));
    REQUIRE(::setxattr(area.folder.at(area.at("root/a/b")).c_str(), kNodeXattr, "??", 2, 0) == 0);
    PrivateArea opened = area.open();
    UniqueFd to = area.target();
    AreaCopy copy(opened, to.get());
    CHECK(copy.copy_entries().error_code() == EUCLEAN);
    CHECK(copy.place() == "root/a/b");
}

TEST_CASE("a link that keeps its content for those that have it open is a link like others in a copy") {
    if (!is_root()) return;
    Area area;
    (void)area.open();
    area.folder.write(area.at("root/kept"), std::string(5000, 'x'));
    NodeInfo link = own(kIno);
    link.kind = NodeInfo::Kind::Link;
    link.object = {object_hash(5), 0, 5000};
    link.whole = true;
    link.ctime = timespec{1'000'000'000, 5};
    put_info(area.folder, area.at("root/kept"), link);
    area.folder.write(area.at("inos"), std::to_string(kIno + 9) + " " + std::to_string(kIno + 9) + " boot\n");
    PrivateArea opened = area.open();
    UniqueFd to = area.target();
    AreaCopy copy(opened, to.get());
    REQUIRE(copy.copy_entries().error_code() == 0);
    const NodeInfo copied = *read_node_info({to.get(), "root/kept"}).take();
    CHECK(copied.is_link());
    // Else the first write there would take the copy's holes for content.
    CHECK_FALSE(copied.whole);
    CHECK(copied.ctime.has_value());
    CHECK(host_stat({to.get(), "root/kept"}).take().stx_blocks == 0);
    area.folder.make_folders("unpacked");
    REQUIRE(unpack(area, "unpacked", packed(area, area.at(""))) == 0);
    UniqueFd unpacked = open_at(area.folder.fd(), "unpacked", O_RDONLY | O_DIRECTORY).take();
    CHECK_FALSE(read_node_info({unpacked.get(), "root/kept"}).take()->whole);
}

TEST_CASE("content that is copied late and has become a link meanwhile is a link in the copy") {
    if (!is_root()) return;
    Area area;
    (void)area.open();
    area.folder.write(area.at("root/big"), std::string(3'000'000, 'x'));
    put_info(area.folder, area.at("root/big"), own(kIno));
    PrivateArea opened = area.open();
    UniqueFd to = area.target();
    AreaCopy copy(opened, to.get());
    REQUIRE(copy.copy_entries().error_code() == 0);
    if (copy.totals().cloned) return;  // nothing is late there
    NodeInfo link = own(kIno);
    link.kind = NodeInfo::Kind::Link;
    link.object = {object_hash(5), 0, 3'000'000};
    REQUIRE(::truncate(area.folder.at(area.at("root/big")).c_str(), 0) == 0);
    REQUIRE(::truncate(area.folder.at(area.at("root/big")).c_str(), 3'000'000) == 0);
    put_info(area.folder, area.at("root/big"), link);
    REQUIRE(copy.copy_late_contents().error_code() == 0);
    CHECK(read_node_info({to.get(), "root/big"}).take()->is_link());
    const HostStat stat = host_stat({to.get(), "root/big"}).take();
    CHECK(stat.stx_size == 3'000'000);
    CHECK(stat.stx_blocks == 0);
}

TEST_CASE("a stream that is cut short or changed makes nothing outside, and no engine meets what cannot be") {
    if (!is_root()) return;
    Area area;
    (void)area.open();
    area.folder.write(area.at("root/a/file"), std::string("content"));
    put_info(area.folder, area.at("root/a/file"), own(kIno));
    put_info(area.folder, area.at("root/a"), own(kIno + 1));
    REQUIRE(::symlinkat("/etc/passwd", area.folder.fd(), area.at("root/a/link").c_str()) == 0);
    put_info(area.folder, area.at("root/a/link"), own(kIno + 2));
    NodeInfo hard = own(kIno + 3);
    hard.indexed = true;
    area.folder.write(area.at("root/hard"), std::string("linked"));
    put_info(area.folder, area.at("root/hard"), hard);
    REQUIRE(host_link({area.folder.fd(), area.at("root/hard").c_str()}, {area.folder.fd(), (area.at("inodes/") + InodeName(hard.ino).text).c_str()}).ok());
    area.folder.write(area.at("inos"), std::to_string(kIno + 9) + " " + std::to_string(kIno + 9) + " boot\n");
    const std::string stream = packed(area, area.at(""));
    int number = 0;
    const auto try_it = [&](const std::string& bytes) {
        const std::string to = "try/" + std::to_string(number++) + "/area";
        area.folder.make_folders(to);
        const int error = unpack(area, to, bytes);
        area.folder.write("try/sibling", std::string("x"));
        CHECK(remove_content(open_at(area.folder.fd(), to.c_str(), O_RDONLY | O_DIRECTORY).take().get()).ok());
        return error;
    };
    REQUIRE(try_it(stream) == 0);
    for (size_t size = 0; size < stream.size(); size++) {
        CAPTURE(size);
        CHECK(try_it(stream.substr(0, size)) == EBADMSG);
    }
    // Names that lead elsewhere.
    const auto with = [&stream](const std::string& from, const std::string& to) {
        std::string changed = stream;
        changed.replace(changed.find(from), from.size(), to);
        return changed;
    };
    CHECK(try_it(with(std::string("E\4\0link", 7), std::string("E\4\0../x", 7))) == EBADMSG);
    CHECK(try_it(with(std::string("E\4\0link", 7), std::string("E\2\0..", 5))) == EBADMSG);
    CHECK(try_it(with(std::string("E\4\0link", 7), std::string("E\4\0a/nk", 7))) == EBADMSG);
    CHECK(try_it(with("trusted.templatefs.node", "trusted.templatefs.nodf")) == EBADMSG);
    std::mt19937 random(7);
    for (int round = 0; round < 3000; round++) {
        std::string changed = stream;
        for (int i = 0; i <= round % 3; i++) changed[random() % changed.size()] = static_cast<char>(random());
        const int error = try_it(changed);
        // Whatever came of it, it is not the disk's or ours.
        CHECK((error == 0 || error == EBADMSG || error == EPERM || error == EINVAL || error == EOPNOTSUPP || error == ENOENT || error == EEXIST || error == EFBIG ||
               error == EOVERFLOW || error == ENOSPC || error == E2BIG || error == ERANGE));
    }
}
