#pragma once
// A private area as a stream of bytes, the same for equal areas: what backups hold, and what templates are made from.
// docs/formats/area-stream.md.

#include <cstdint>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/output.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "private/area.h"
#include "private/area_entries.h"
#include "private/node_xattr.h"

namespace templatefs {

inline constexpr char kAreaStreamMagic[] = "tfsarea1";
inline constexpr uint32_t kLongestData = 1 << 20;

enum class AreaRecord : uint8_t {
    Numbers = 'N',   // first: the next free inode number
    Indexed = 'I',   // an inode of inodes/
    Entry = 'E',     // a name in the current folder, which a folder's becomes; the first is root/ itself, without a name
    Link = 'L',      // a name of an inode of inodes/
    Whiteout = 'W',
    Up = 'U',        // the end of the current folder
    End = 'Z',
};

// Nothing may change in the area meanwhile.
class AreaPack {
public:
    AreaPack(const PrivateArea& area, int to) : area_(area), out_(to) {}
    Result<void> run();
    const std::string& place() const { return path_; }

private:
    Result<void> pack_indexed();
    Result<bool> pack_entry(Place place);
    Result<void> pack_inode(Place place, const HostStat& stat, bool indexed, const std::vector<Xattr>& xattrs, int fd);
    Result<void> pack_content(int fd, const HostStat& stat, bool has_content);
    void put(AreaRecord kind) { out_.put(static_cast<char>(kind)); }
    template <class Number>
    void put_number(Number value);
    void put_text(std::string_view text);

    const PrivateArea& area_;
    Output out_;
    XattrReader xattrs_;
    std::unordered_map<uint64_t, uint64_t> indexed_;  // number on the host → number in the container
    std::vector<char> buffer_;
    std::string path_;
};

// The other way, into the empty folder `to`; whatever the stream holds, nothing is written elsewhere. EBADMSG for one that
// AreaPack would not have written.
class AreaUnpack {
public:
    AreaUnpack(int from, int to) : from_(from), to_(to) {}
    Result<void> run();
    const std::string& place() const { return path_; }

private:
    struct Inode {
        uint32_t mode = 0, uid = 0, gid = 0, rdev_major = 0, rdev_minor = 0, nanoseconds = 0, flags = 0;
        int64_t seconds = 0;
        uint64_t size = 0;
        std::string target;
        std::vector<Xattr> xattrs;
        NodeInfo info{};
        bool has_info = false;
    };
    struct Level {
        size_t name_size;
        Inode inode;
        std::string last;  // names come in their order
    };

    Result<void> read_bytes(void* to, size_t size);
    template <class Number>
    Result<Number> read_number();
    Result<std::string> read_name(Level* folder);
    Result<Inode> read_inode();
    Result<void> make_inode(Place place, const Inode& inode);
    Result<void> make_content(int fd, const Inode& inode);
    Result<void> dress(int fd, const Inode& inode);
    Result<void> read_entries(uint64_t next);

    int from_;
    int to_;
    UniqueFd inodes_;
    std::vector<char> input_;
    size_t begin_ = 0, end_ = 0;
    std::unordered_set<uint64_t> numbers_;  // of inodes that were made
    std::vector<char> buffer_;
    std::string path_;
};

}  // namespace templatefs
