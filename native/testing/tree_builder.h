#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace templatefs::testing {

using Bytes = std::vector<std::byte>;

struct NodeMeta {
    uint32_t mode = 0;  // permission bits; 0 stands for 0755 (folder), 0644 (others) or 0777 (symlink)
    uint32_t uid = 0, gid = 0;
    int64_t mtime_sec = 1'700'000'000;
    uint32_t mtime_nsec = 0;
    uint64_t size = 0;  // regular files
    std::array<uint8_t, 16> hash{};
    uint32_t variant = 0;
    uint64_t blocks = UINT64_MAX;  // UINT64_MAX: as many as `size` needs
    uint32_t rdev = 0;
    std::map<std::string, std::string> xattrs = {};
};

// Makes tree images for tests, by docs/formats/tree-image.md and independently of the TypeScript writer.
//
//   TreeBuilder tree;
//   tree.folder("/etc");
//   tree.file("/etc/hostname", {.size = 5, .hash = object_hash(1)});
//   Bytes image = tree.build();
class TreeBuilder {
public:
    TreeBuilder();
    ~TreeBuilder();

    // The folders above `path` must have been made. Each aborts when `path` is there already.
    void root(const NodeMeta& meta);
    void folder(std::string_view path, const NodeMeta& meta = {});
    void file(std::string_view path, const NodeMeta& meta);
    void symlink(std::string_view path, std::string_view target, const NodeMeta& meta = {});
    // `type`: S_IFCHR, S_IFBLK, S_IFIFO or S_IFSOCK.
    void special(std::string_view path, uint32_t type, const NodeMeta& meta = {});
    void hard_link(std::string_view path, std::string_view existing);

    // The number that the node has in the built image.
    uint32_t node_of(std::string_view path);
    Bytes build();

private:
    struct Node;
    std::shared_ptr<Node> lookup(std::string_view path) const;
    std::shared_ptr<Node> add(std::string_view path, uint32_t type, const NodeMeta& meta);
    void number();

    std::shared_ptr<Node> root_;
    std::vector<std::shared_ptr<Node>> numbered_;
};

// A hash that is as good as any other: readers never compute one.
std::array<uint8_t, 16> object_hash(uint32_t number);
std::string hex(const std::array<uint8_t, 16>& hash);

// Overwrites a little-endian field in an image.
void patch_u16(Bytes& image, size_t at, uint16_t value);
void patch_u32(Bytes& image, size_t at, uint32_t value);
void patch_u64(Bytes& image, size_t at, uint64_t value);
uint32_t peek_u32(const Bytes& image, size_t at);
uint64_t peek_u64(const Bytes& image, size_t at);
// Makes the page checks and the header's CRC right again after a patch, to test what stands behind them.
void reseal(Bytes& image);
void reseal_header(Bytes& image);

}  // namespace templatefs::testing
