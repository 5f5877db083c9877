#pragma once
#include <sys/stat.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace templatefs {

using NodeIndex = uint32_t;  // 0 is the root
constexpr uint32_t kNoObject = 0xffffffff;

// A decoded copy of one node record.
struct TreeNode {
    uint32_t mode, uid, gid, nlink;
    int64_t mtime_sec;
    uint32_t mtime_nsec, rdev;
    uint64_t size;
    uint32_t data_a;  // folder: first entry; regular file: object or kNoObject; symlink: target's offset in strings
    uint32_t data_b;  // folder: number of entries
    uint32_t xattrs;  // 0, or 1 + offset of the xattr set
    uint32_t parent;
    uint64_t blocks;  // of 512 bytes

    bool is_dir() const { return S_ISDIR(mode); }
    bool is_regular() const { return S_ISREG(mode); }
    bool is_symlink() const { return S_ISLNK(mode); }
};

struct TreeEntry {
    std::string_view name;
    uint8_t type;  // as in d_type
    NodeIndex node;
};

struct ObjectRef {
    std::array<uint8_t, 16> hash;
    uint32_t variant;
    uint64_t size;
};

struct XattrView {
    std::string_view name, value;
};

// What the header states beyond the layout; `verify` compares it with the nodes.
struct TreeTotals {
    uint32_t node_count, entry_count, object_count, regular_count;
    uint64_t content_bytes, xattrs_size, strings_size;
};

// A tree image, read straight from its mapping: docs/formats/tree-image.md.
//
// Nothing is read at opening but the header and the root. Every offset is checked against its section and every page
// against its CRC before its first use; what breaks a rule is EUCLEAN and is never followed. Views into the image
// (names, targets, xattrs) live as long as the TreeImage does, also when it is moved. Look-ups do not allocate.
// All const functions may be called from several threads at once.
class TreeImage {
public:
    // Opens `name` in `dir_fd` without following a symlink. EUCLEAN when it is not a sound tree image.
    static Result<TreeImage> open(int dir_fd, const char* name);
    static Result<TreeImage> map(int file);

    TreeImage(TreeImage&& other) noexcept;
    TreeImage& operator=(TreeImage&& other) noexcept;
    TreeImage(const TreeImage&) = delete;
    TreeImage& operator=(const TreeImage&) = delete;
    ~TreeImage();

    uint32_t node_count() const { return totals_.node_count; }
    const TreeTotals& totals() const { return totals_; }

    Result<TreeNode> node(NodeIndex index) const;

    // The position of `name` among the entries of `folder`, or ENOENT.
    Result<uint32_t> find(const TreeNode& folder, std::string_view name) const;
    // position: 0 … folder.data_b - 1; EINVAL beyond.
    Result<TreeEntry> entry(const TreeNode& folder, uint32_t position) const;

    struct Child {
        uint32_t position;
        NodeIndex index;
        TreeNode node;
    };
    // The entry with its node. Both agree on the type, and a folder is found only under its parent.
    Result<Child> child(NodeIndex folder_index, const TreeNode& folder, std::string_view name) const;
    // The same by position; stores the name in `*name` unless that is null.
    Result<Child> child_at(NodeIndex folder_index, const TreeNode& folder, uint32_t position,
                           std::string_view* name) const;

    // EINVAL when `node` is no symlink.
    Result<std::string_view> symlink_target(const TreeNode& node) const;
    // ENODATA for an empty file, EINVAL when `file` is no regular file.
    Result<ObjectRef> object(const TreeNode& file) const;
    // By its number in the object section, 0 … totals().object_count - 1.
    Result<ObjectRef> object_at(uint32_t index) const;

    // Calls `callback(XattrView) -> bool` for each xattr in the order of their names, until it returns false.
    template <class Callback>
    Result<void> for_each_xattr(const TreeNode& node, Callback&& callback) const {
        XattrCursor cursor = TRY(xattr_begin(node));
        while (cursor.left > 0) {
            XattrView view = TRY(xattr_next(cursor));
            if (!callback(view)) break;
        }
        return {};
    }
    // ENODATA when there is none of that name.
    Result<XattrView> xattr(const TreeNode& node, std::string_view name) const;

    // Checks the CRC of every page, also of those that nothing refers to.
    Result<void> check_all_pages() const;
    // Gives the pages back to the page cache; they are mapped again at their next use.
    void drop_pages() const;

private:
    struct Section {
        uint64_t offset = 0, size = 0;
    };
    struct XattrCursor {
        uint64_t at;  // in the xattr section
        uint32_t left;
    };

    TreeImage() = default;
    Result<void> read_header(uint64_t stat_size);
    // The bytes at `at` of a section, their bounds and their pages checked; null when one is broken.
    const std::byte* range(const Section& section, uint64_t at, uint64_t length) const;
    bool check_pages(uint64_t offset, uint64_t length) const;
    bool check_page(uint64_t page) const;
    Result<std::string_view> string_at(uint64_t at, uint32_t length) const;
    Result<Child> resolve(NodeIndex folder_index, const TreeEntry& entry, uint32_t position) const;
    Result<XattrCursor> xattr_begin(const TreeNode& node) const;
    Result<XattrView> xattr_next(XattrCursor& cursor) const;
    void unmap();

    const std::byte* bytes_ = nullptr;
    uint64_t mapped_size_ = 0;
    // One bit a page: checked. Anonymous memory, so only what is touched is paid for.
    uint64_t* checked_ = nullptr;
    uint64_t page_count_ = 0;  // below the checks section
    Section nodes_, entries_, objects_, xattrs_, strings_, checks_;
    TreeTotals totals_{};
};

}  // namespace templatefs
