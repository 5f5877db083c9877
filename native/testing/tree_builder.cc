#include "testing/tree_builder.h"

#include <sys/stat.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <tuple>

#include "base/crc32.h"
#include "base/little_endian.h"
#include "tree/tree_format.h"

namespace templatefs::testing {

using namespace tree_format;

struct TreeBuilder::Node {
    uint32_t mode = 0;
    uint32_t nlink = 1;
    NodeMeta meta;
    std::string target;
    // std::string orders by unsigned bytes, as the format does.
    std::map<std::string, std::shared_ptr<Node>> children;
    uint32_t number = UINT32_MAX, parent = 0;
    uint32_t first_entry = 0, xattr_set = 0, target_at = 0;
};

namespace {

[[noreturn]] void give_up(const char* why, std::string_view path) {
    std::fprintf(stderr, "tree_builder: %s: %.*s\n", why, static_cast<int>(path.size()), path.data());
    std::abort();
}

std::pair<std::string_view, std::string_view> split(std::string_view path) {
    size_t slash = path.rfind('/');
    if (slash == std::string_view::npos) give_up("not absolute", path);
    return {path.substr(0, slash), path.substr(slash + 1)};
}

template <class T>
void append(Bytes& bytes, T value) {
    bytes.resize(bytes.size() + sizeof value);
    store_le(bytes.data() + bytes.size() - sizeof value, value);
}

void append_text(Bytes& bytes, std::string_view text) {
    size_t at = bytes.size();
    bytes.resize(at + text.size());
    if (!text.empty()) std::memcpy(bytes.data() + at, text.data(), text.size());
}

void pad(Bytes& bytes, size_t alignment) { bytes.resize(align_up(bytes.size(), alignment)); }

uint32_t prefix_of(std::string_view name) {
    uint32_t prefix = 0;
    for (size_t i = 0; i < 4; ++i) prefix = prefix << 8 | (i < name.size() ? static_cast<uint8_t>(name[i]) : 0u);
    return prefix;
}

}  // namespace

TreeBuilder::TreeBuilder() : root_(std::make_shared<Node>()) {
    root_->mode = S_IFDIR | 0755;
    root_->nlink = 2;
}

TreeBuilder::~TreeBuilder() = default;

void TreeBuilder::root(const NodeMeta& meta) {
    root_->meta = meta;
    root_->mode = S_IFDIR | (meta.mode != 0 ? meta.mode : 0755);
}

std::shared_ptr<TreeBuilder::Node> TreeBuilder::lookup(std::string_view path) const {
    auto node = root_;
    while (!path.empty()) {
        path.remove_prefix(1);
        size_t end = path.find('/');
        auto found = node->children.find(std::string(path.substr(0, end)));
        if (path.substr(0, end).empty()) return node;
        if (found == node->children.end()) return nullptr;
        node = found->second;
        path = end == std::string_view::npos ? std::string_view() : path.substr(end);
    }
    return node;
}

std::shared_ptr<TreeBuilder::Node> TreeBuilder::add(std::string_view path, uint32_t type, const NodeMeta& meta) {
    auto [above, name] = split(path);
    auto folder = lookup(above);
    if (!folder || !S_ISDIR(folder->mode)) give_up("no folder above", path);
    auto node = std::make_shared<Node>();
    uint32_t usual = type == S_IFDIR ? 0755 : type == S_IFLNK ? 0777 : 0644;
    node->mode = type | (meta.mode != 0 ? meta.mode : usual);
    node->meta = meta;
    if (type == S_IFDIR) {
        node->nlink = 2;
        folder->nlink += 1;
    }
    if (!folder->children.emplace(name, node).second) give_up("is there already", path);
    return node;
}

void TreeBuilder::folder(std::string_view path, const NodeMeta& meta) { add(path, S_IFDIR, meta); }

void TreeBuilder::file(std::string_view path, const NodeMeta& meta) { add(path, S_IFREG, meta); }

void TreeBuilder::symlink(std::string_view path, std::string_view target, const NodeMeta& meta) {
    add(path, S_IFLNK, meta)->target = target;
}

void TreeBuilder::special(std::string_view path, uint32_t type, const NodeMeta& meta) { add(path, type, meta); }

void TreeBuilder::hard_link(std::string_view path, std::string_view existing) {
    auto node = lookup(existing);
    auto [above, name] = split(path);
    auto folder = lookup(above);
    if (!node || S_ISDIR(node->mode) || !folder) give_up("cannot link", path);
    if (!folder->children.emplace(name, node).second) give_up("is there already", path);
    node->nlink += 1;
}

void TreeBuilder::number() {
    for (auto& node : numbered_) node->number = UINT32_MAX;
    numbered_ = {root_};
    root_->number = 0;
    for (size_t i = 0; i < numbered_.size(); ++i) {
        auto folder = numbered_[i];
        for (auto& [name, child] : folder->children) {
            if (child->number != UINT32_MAX) continue;
            child->number = static_cast<uint32_t>(numbered_.size());
            child->parent = folder->number;
            numbered_.push_back(child);
        }
    }
}

uint32_t TreeBuilder::node_of(std::string_view path) {
    number();
    auto node = lookup(path);
    if (!node) give_up("is not there", path);
    return node->number;
}

Bytes TreeBuilder::build() {
    number();

    using ObjectKey = std::tuple<std::array<uint8_t, 16>, uint32_t, uint64_t>;
    std::map<ObjectKey, uint32_t> objects;
    for (auto& node : numbered_) {
        if (S_ISREG(node->mode) && node->meta.size > 0) objects[{node->meta.hash, node->meta.variant, node->meta.size}];
    }
    uint32_t object_count = 0;
    for (auto& [key, index] : objects) index = object_count++;

    Bytes strings, xattrs, entries;
    std::map<std::string, uint32_t> string_at;
    auto intern = [&](const std::string& text) {
        auto [found, fresh] = string_at.emplace(text, static_cast<uint32_t>(strings.size()));
        if (fresh) append_text(strings, text);
        return found->second;
    };
    std::map<std::map<std::string, std::string>, uint32_t> sets;
    std::set<uint32_t> targets_done;
    uint32_t entry_count = 0;
    for (auto& node : numbered_) {
        if (!node->meta.xattrs.empty()) {
            auto [found, fresh] = sets.emplace(node->meta.xattrs, static_cast<uint32_t>(xattrs.size()) + 1);
            node->xattr_set = found->second;
            if (fresh) {
                append(xattrs, static_cast<uint32_t>(node->meta.xattrs.size()));
                for (auto& [name, value] : node->meta.xattrs) {
                    append(xattrs, static_cast<uint16_t>(name.size()));
                    append(xattrs, uint16_t{0});
                    append(xattrs, static_cast<uint32_t>(value.size()));
                    append_text(xattrs, name);
                    append_text(xattrs, value);
                    pad(xattrs, 4);
                }
            }
        }
        if (!S_ISDIR(node->mode)) continue;
        node->first_entry = entry_count;
        for (auto& [name, child] : node->children) {
            append(entries, intern(name));
            append(entries, static_cast<uint16_t>(name.size()));
            append(entries, static_cast<uint8_t>((child->mode & S_IFMT) >> 12));
            append(entries, uint8_t{0});
            append(entries, child->number);
            append(entries, prefix_of(name));
            ++entry_count;
            if (S_ISLNK(child->mode) && targets_done.insert(child->number).second) {
                child->target_at = intern(child->target);
            }
        }
    }

    Bytes image(kHeaderSize);
    uint64_t content_bytes = 0;
    uint32_t regular_count = 0;
    for (auto& node : numbered_) {
        bool is_regular = S_ISREG(node->mode), is_folder = S_ISDIR(node->mode), is_symlink = S_ISLNK(node->mode);
        uint64_t size = is_regular ? node->meta.size : is_symlink ? node->target.size() : 0;
        if (is_regular) {
            content_bytes += size;
            ++regular_count;
        }
        uint32_t data_a = 0;
        if (is_folder) data_a = node->first_entry;
        if (is_symlink) data_a = node->target_at;
        if (is_regular) data_a = size == 0 ? 0xffffffff : objects[{node->meta.hash, node->meta.variant, size}];
        uint64_t blocks = 0;
        if (is_regular) blocks = node->meta.blocks != UINT64_MAX ? node->meta.blocks : (size + 4095) / 4096 * 8;
        append(image, node->mode);
        append(image, node->meta.uid);
        append(image, node->meta.gid);
        append(image, node->nlink);
        append(image, node->meta.mtime_sec);
        append(image, node->meta.mtime_nsec);
        append(image, node->meta.rdev);
        append(image, size);
        append(image, data_a);
        append(image, is_folder ? static_cast<uint32_t>(node->children.size()) : 0u);
        append(image, node->xattr_set);
        append(image, node->parent);
        append(image, blocks);
    }
    pad(image, kSectionAlignment);
    uint64_t entries_offset = image.size();
    image.insert(image.end(), entries.begin(), entries.end());
    pad(image, kSectionAlignment);
    uint64_t objects_offset = image.size();
    for (auto& [key, index] : objects) {
        auto& [hash, variant, size] = key;
        for (uint8_t byte : hash) append(image, byte);
        append(image, variant);
        append(image, uint32_t{0});
        append(image, size);
    }
    pad(image, kSectionAlignment);
    uint64_t xattrs_offset = image.size();
    image.insert(image.end(), xattrs.begin(), xattrs.end());
    pad(image, kSectionAlignment);
    uint64_t strings_offset = image.size();
    image.insert(image.end(), strings.begin(), strings.end());
    pad(image, kPageSize);
    uint64_t checks_offset = image.size();
    image.resize(checks_offset + checks_offset / kPageSize * 4);

    using namespace header;
    std::memcpy(image.data(), kMagic, sizeof kMagic);
    patch_u32(image, kVersionAt, kVersion);
    patch_u64(image, kFileSizeAt, image.size());
    patch_u32(image, kNodeCountAt, static_cast<uint32_t>(numbered_.size()));
    patch_u32(image, kEntryCountAt, entry_count);
    patch_u32(image, kObjectCountAt, object_count);
    patch_u64(image, kNodesOffsetAt, kHeaderSize);
    patch_u64(image, kEntriesOffsetAt, entries_offset);
    patch_u64(image, kObjectsOffsetAt, objects_offset);
    patch_u64(image, kXattrsOffsetAt, xattrs_offset);
    patch_u64(image, kXattrsSizeAt, xattrs.size());
    patch_u64(image, kStringsOffsetAt, strings_offset);
    patch_u64(image, kStringsSizeAt, strings.size());
    patch_u64(image, kChecksOffsetAt, checks_offset);
    patch_u64(image, kContentBytesAt, content_bytes);
    patch_u32(image, kRegularCountAt, regular_count);
    reseal(image);
    return image;
}

std::array<uint8_t, 16> object_hash(uint32_t number) {
    std::array<uint8_t, 16> hash{};
    for (size_t i = 0; i < 4; ++i) hash[i] = static_cast<uint8_t>(number >> (24 - 8 * i));
    hash[15] = 0xaa;
    return hash;
}

std::string hex(const std::array<uint8_t, 16>& hash) {
    constexpr char digits[] = "0123456789abcdef";
    std::string text;
    for (uint8_t byte : hash) {
        text += digits[byte >> 4];
        text += digits[byte & 15];
    }
    return text;
}

void patch_u16(Bytes& image, size_t at, uint16_t value) { store_le(image.data() + at, value); }
void patch_u32(Bytes& image, size_t at, uint32_t value) { store_le(image.data() + at, value); }
void patch_u64(Bytes& image, size_t at, uint64_t value) { store_le(image.data() + at, value); }
uint32_t peek_u32(const Bytes& image, size_t at) { return load_le<uint32_t>(image.data() + at); }
uint64_t peek_u64(const Bytes& image, size_t at) { return load_le<uint64_t>(image.data() + at); }

void reseal(Bytes& image) {
    size_t checks_offset = peek_u64(image, header::kChecksOffsetAt);
    for (size_t page = 1; page < checks_offset / kPageSize; ++page) {
        patch_u32(image, checks_offset + page * 4, crc32({image.data() + page * kPageSize, kPageSize}));
    }
    reseal_header(image);
}

void reseal_header(Bytes& image) {
    patch_u32(image, header::kCrcAt, 0);
    patch_u32(image, header::kCrcAt, crc32({image.data(), kHeaderSize}));
}

}  // namespace templatefs::testing
