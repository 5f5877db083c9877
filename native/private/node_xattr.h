#pragma once
// trusted.templatefs.node: what the host inode of a private entry cannot say. docs/formats/private-area.md.

#include <array>
#include <ctime>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "private/host.h"
#include "tree/tree_image.h"

namespace templatefs {

inline constexpr char kNodeXattr[] = "trusted.templatefs.node";
// File capabilities: the kernel takes them away with every change of content, also one that the engine makes.
inline constexpr char kCapability[] = "security.capability";
inline constexpr std::string_view kOwnXattrPrefix = "trusted.templatefs.";
inline constexpr NodeIndex kNoOrigin = 0xffffffff;
// Tree node i has inode number i + 1; private inodes have numbers from here.
inline constexpr uint64_t kFirstPrivateIno = 1ULL << 28;

struct NodeInfo {
    // Partial: the content is the host inode's own where it has data, the object's where it has holes (partial_file.h).
    enum class Kind : uint8_t { Own = 0, Link = 1, Partial = 2 };

    Kind kind = Kind::Own;
    bool indexed = false;
    NodeIndex origin = kNoOrigin;
    uint32_t tree_links = 0;
    uint64_t ino = 0;
    ObjectRef object{};  // of a link or a partial file; its size is how much of it shows
    // Of a link that was a private file (merged): the host inode still has all of the content, because somebody may have it
    // open or mapped.
    bool whole = false;
    // Of a link that was merged: the ctime that the file had, which shows until the container changes its metadata.
    std::optional<timespec> ctime{};

    bool is_link() const { return kind == Kind::Link; }
    bool is_partial() const { return kind == Kind::Partial; }
    bool has_object() const { return kind != Kind::Own; }
};

inline constexpr size_t kNodeXattrMaxSize = 56;

struct EncodedNodeInfo {
    std::array<std::byte, kNodeXattrMaxSize> bytes;
    size_t size;
    std::span<const std::byte> view() const { return std::span(bytes).first(size); }
};

EncodedNodeInfo encode(const NodeInfo& info);
// EUCLEAN for anything that encode() would not have written.
Result<NodeInfo> decode_node_info(std::span<const std::byte> bytes);

// nullopt when the entry has no node xattr.
Result<std::optional<NodeInfo>> read_node_info(Place place);
Result<void> write_node_info(Place place, const NodeInfo& info);

// "xx/yyyy…" or "xx/yyyy….N": the object's path below objects/.
struct ObjectPath {
    char text[48];
};
ObjectPath object_path(const ObjectRef& object);

}  // namespace templatefs
