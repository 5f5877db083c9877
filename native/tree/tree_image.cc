#include "tree/tree_image.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <span>

#include "base/crc32.h"
#include "base/little_endian.h"
#include "base/unique_fd.h"
#include "tree/tree_format.h"

namespace templatefs {

using namespace tree_format;

namespace {

constexpr Errno kBroken{EUCLEAN};

bool is_node_type(uint32_t mode) {
    if ((mode & ~uint32_t{S_IFMT | 07777}) != 0) return false;
    switch (mode & S_IFMT) {
        case S_IFREG:
        case S_IFDIR:
        case S_IFLNK:
        case S_IFCHR:
        case S_IFBLK:
        case S_IFIFO:
        case S_IFSOCK: return true;
        default: return false;
    }
}

bool is_valid_name(std::string_view name) {
    if (name == "." || name == "..") return false;
    return std::memchr(name.data(), '/', name.size()) == nullptr && std::memchr(name.data(), 0, name.size()) == nullptr;
}

// The first four bytes as a big-endian number, zero-filled: orders as the names do, as far as it goes.
uint32_t name_prefix(std::string_view name) {
    uint32_t prefix = 0;
    for (size_t i = 0; i < 4; ++i) {
        prefix = (prefix << 8) | (i < name.size() ? static_cast<unsigned char>(name[i]) : 0u);
    }
    return prefix;
}

bool is_zero(const std::byte* bytes, size_t length) {
    return std::all_of(bytes, bytes + length, [](std::byte b) { return b == std::byte{0}; });
}

}  // namespace

Result<TreeImage> TreeImage::open(int dir_fd, const char* name) {
    // O_NONBLOCK: a fifo in the place of a tree must not stop us.
    return map(TRY(open_at(dir_fd, name, O_RDONLY | O_NONBLOCK)).get());
}

Result<TreeImage> TreeImage::map(int file) {
    struct stat st;
    if (::fstat(file, &st) < 0) return Errno::last();
    if (!S_ISREG(st.st_mode)) return kBroken;
    auto size = static_cast<uint64_t>(st.st_size);
    if (size < kHeaderSize + kPageSize) return kBroken;

    TreeImage image;
    void* mapping = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file, 0);
    if (mapping == MAP_FAILED) return Errno::last();
    image.bytes_ = static_cast<const std::byte*>(mapping);
    image.mapped_size_ = size;
    // Without this the kernel may map 2 MB at the first touch of any byte: that is in our PSS although we read a few
    // kB. (MADV_RANDOM does not help, and made the first look-ups from a disk five times slower.)
    ::madvise(mapping, size, MADV_NOHUGEPAGE);
    TRY(image.read_header(size));

    uint64_t words = image.page_count_ / 64 + 1;
    void* bitmap = ::mmap(nullptr, words * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (bitmap == MAP_FAILED) return Errno::last();
    image.checked_ = static_cast<uint64_t*>(bitmap);

    TreeNode root = TRY(image.node(0));
    if (!root.is_dir() || root.parent != 0) return kBroken;
    return image;
}

Result<void> TreeImage::read_header(uint64_t stat_size) {
    const std::byte* head = bytes_;
    auto u32 = [&](size_t at) { return load_le<uint32_t>(head + at); };
    auto u64 = [&](size_t at) { return load_le<uint64_t>(head + at); };
    using namespace header;

    if (std::memcmp(head, kMagic, sizeof kMagic) != 0) return kBroken;
    constexpr std::byte no_crc[4] = {};
    uint32_t crc = crc32({head, kCrcAt});
    crc = crc32(no_crc, crc);
    crc = crc32({head + kEnd, kHeaderSize - kEnd}, crc);
    if (crc != u32(kCrcAt)) return kBroken;
    if (u32(kVersionAt) != kVersion || u32(kFlagsAt) != 0) return kBroken;
    if (u32(kReserved1At) != 0 || u64(kReserved2At) != 0 || !is_zero(head + kEnd, kHeaderSize - kEnd)) return kBroken;

    totals_ = {.node_count = u32(kNodeCountAt),
               .entry_count = u32(kEntryCountAt),
               .object_count = u32(kObjectCountAt),
               .regular_count = u32(kRegularCountAt),
               .content_bytes = u64(kContentBytesAt),
               .xattrs_size = u64(kXattrsSizeAt),
               .strings_size = u64(kStringsSizeAt)};
    if (totals_.node_count < 1 || totals_.node_count > kMaxNodeCount) return kBroken;
    if (totals_.xattrs_size > UINT32_MAX || totals_.strings_size > UINT32_MAX) return kBroken;

    // Counts have 32 bits and records at most 64 bytes: none of these sums can overflow.
    nodes_ = {u64(kNodesOffsetAt), kNodeSize * totals_.node_count};
    entries_ = {u64(kEntriesOffsetAt), kEntrySize * totals_.entry_count};
    objects_ = {u64(kObjectsOffsetAt), kObjectSize * totals_.object_count};
    xattrs_ = {u64(kXattrsOffsetAt), totals_.xattrs_size};
    strings_ = {u64(kStringsOffsetAt), totals_.strings_size};
    uint64_t end = kHeaderSize;
    for (const Section* section : {&nodes_, &entries_, &objects_, &xattrs_, &strings_}) {
        if (section->offset != align_up(end, kSectionAlignment)) return kBroken;
        end = section->offset + section->size;
    }
    checks_.offset = u64(kChecksOffsetAt);
    if (checks_.offset != align_up(end, kPageSize)) return kBroken;
    page_count_ = checks_.offset / kPageSize;
    checks_.size = page_count_ * 4;
    if (u64(kFileSizeAt) != checks_.offset + checks_.size || u64(kFileSizeAt) != stat_size) return kBroken;
    return {};
}

bool TreeImage::check_page(uint64_t page) const {
    uint64_t* word = checked_ + page / 64;
    uint64_t bit = uint64_t{1} << (page % 64);
    if ((__atomic_load_n(word, __ATOMIC_RELAXED) & bit) != 0) return true;
    uint32_t expected = load_le<uint32_t>(bytes_ + checks_.offset + page * 4);
    if (crc32({bytes_ + page * kPageSize, kPageSize}) != expected) return false;
    __atomic_fetch_or(word, bit, __ATOMIC_RELAXED);
    return true;
}

bool TreeImage::check_pages(uint64_t offset, uint64_t length) const {
    uint64_t last = (offset + length - 1) / kPageSize;
    for (uint64_t page = offset / kPageSize; page <= last; ++page) {
        if (!check_page(page)) return false;
    }
    return true;
}

const std::byte* TreeImage::range(const Section& section, uint64_t at, uint64_t length) const {
    if (length == 0 || at > section.size || length > section.size - at) return nullptr;
    uint64_t offset = section.offset + at;
    return check_pages(offset, length) ? bytes_ + offset : nullptr;
}

Result<std::string_view> TreeImage::string_at(uint64_t at, uint32_t length) const {
    const std::byte* bytes = range(strings_, at, length);
    if (bytes == nullptr) return kBroken;
    return std::string_view(reinterpret_cast<const char*>(bytes), length);
}

Result<TreeNode> TreeImage::node(NodeIndex index) const {
    const std::byte* at = range(nodes_, uint64_t{index} * kNodeSize, kNodeSize);
    if (at == nullptr) return kBroken;
    TreeNode node{
        .mode = load_le<uint32_t>(at),
        .uid = load_le<uint32_t>(at + 4),
        .gid = load_le<uint32_t>(at + 8),
        .nlink = load_le<uint32_t>(at + 12),
        .mtime_sec = load_le<int64_t>(at + 16),
        .mtime_nsec = load_le<uint32_t>(at + 24),
        .rdev = load_le<uint32_t>(at + 28),
        .size = load_le<uint64_t>(at + 32),
        .data_a = load_le<uint32_t>(at + 40),
        .data_b = load_le<uint32_t>(at + 44),
        .xattrs = load_le<uint32_t>(at + 48),
        .parent = load_le<uint32_t>(at + 52),
        .blocks = load_le<uint64_t>(at + 56),
    };
    if (!is_node_type(node.mode) || node.nlink == 0 || node.mtime_nsec > 999'999'999) return kBroken;
    if (node.size > INT64_MAX || node.blocks > INT64_MAX / 512) return kBroken;
    if (node.parent >= totals_.node_count) return kBroken;
    if (node.is_dir() && uint64_t{node.data_a} + node.data_b > totals_.entry_count) return kBroken;
    return node;
}

Result<uint32_t> TreeImage::find(const TreeNode& folder, std::string_view name) const {
    if (!folder.is_dir()) return Errno(ENOTDIR);
    if (name.empty() || name.size() > kMaxNameLength) return Errno(ENOENT);
    uint32_t sought = name_prefix(name);
    uint32_t low = 0, high = folder.data_b;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const std::byte* at = range(entries_, (uint64_t{folder.data_a} + middle) * kEntrySize, kEntrySize);
        if (at == nullptr) return kBroken;
        uint32_t prefix = load_le<uint32_t>(at + 12);
        bool before;  // the entry, in comparison with the name
        if (prefix != sought) {
            before = prefix < sought;
        } else {
            std::string_view here = TRY(string_at(load_le<uint32_t>(at), load_le<uint16_t>(at + 4)));
            int order = here.compare(name);
            if (order == 0) return middle;
            before = order < 0;
        }
        if (before) low = middle + 1;
        else high = middle;
    }
    return Errno(ENOENT);
}

Result<TreeEntry> TreeImage::entry(const TreeNode& folder, uint32_t position) const {
    if (!folder.is_dir()) return Errno(ENOTDIR);
    if (position >= folder.data_b) return Errno(EINVAL);
    const std::byte* at = range(entries_, (uint64_t{folder.data_a} + position) * kEntrySize, kEntrySize);
    if (at == nullptr) return kBroken;
    uint16_t length = load_le<uint16_t>(at + 4);
    if (length == 0 || length > kMaxNameLength) return kBroken;
    std::string_view name = TRY(string_at(load_le<uint32_t>(at), length));
    if (!is_valid_name(name) || load_le<uint32_t>(at + 12) != name_prefix(name)) return kBroken;
    return TreeEntry{name, std::to_integer<uint8_t>(at[6]), load_le<uint32_t>(at + 8)};
}

Result<TreeImage::Child> TreeImage::resolve(NodeIndex folder_index, const TreeEntry& entry, uint32_t position) const {
    // The root is nobody's child; with the rule about parents this leaves no way round in a circle.
    if (entry.node == 0) return kBroken;
    TreeNode found = TRY(node(entry.node));
    if (entry.type != IFTODT(found.mode)) return kBroken;
    if (found.is_dir() && found.parent != folder_index) return kBroken;
    return Child{position, entry.node, found};
}

Result<TreeImage::Child> TreeImage::child(NodeIndex folder_index, const TreeNode& folder,
                                          std::string_view name) const {
    uint32_t position = TRY(find(folder, name));
    TreeEntry found = TRY(entry(folder, position));
    return resolve(folder_index, found, position);
}

Result<TreeImage::Child> TreeImage::child_at(NodeIndex folder_index, const TreeNode& folder, uint32_t position,
                                             std::string_view* name) const {
    TreeEntry found = TRY(entry(folder, position));
    if (name != nullptr) *name = found.name;
    return resolve(folder_index, found, position);
}

Result<std::string_view> TreeImage::symlink_target(const TreeNode& node) const {
    if (!node.is_symlink()) return Errno(EINVAL);
    if (node.size == 0 || node.size > kMaxTargetLength) return kBroken;
    std::string_view target = TRY(string_at(node.data_a, static_cast<uint32_t>(node.size)));
    if (std::memchr(target.data(), 0, target.size()) != nullptr) return kBroken;
    return target;
}

Result<ObjectRef> TreeImage::object_at(uint32_t index) const {
    const std::byte* at = range(objects_, uint64_t{index} * kObjectSize, kObjectSize);
    if (at == nullptr) return kBroken;
    ObjectRef object{};
    std::memcpy(object.hash.data(), at, object.hash.size());
    object.variant = load_le<uint32_t>(at + 16);
    object.size = load_le<uint64_t>(at + 24);
    return object;
}

Result<ObjectRef> TreeImage::object(const TreeNode& file) const {
    if (!file.is_regular()) return Errno(EINVAL);
    if (file.data_a == kNoObject) return file.size == 0 ? Errno(ENODATA) : kBroken;
    ObjectRef object = TRY(object_at(file.data_a));
    if (object.size != file.size || object.size == 0) return kBroken;
    return object;
}

Result<TreeImage::XattrCursor> TreeImage::xattr_begin(const TreeNode& node) const {
    if (node.xattrs == 0) return XattrCursor{0, 0};
    uint64_t at = node.xattrs - 1;
    const std::byte* set = at % 4 == 0 ? range(xattrs_, at, 4) : nullptr;
    if (set == nullptr) return kBroken;
    uint32_t count = load_le<uint32_t>(set);
    if (count == 0) return kBroken;
    return XattrCursor{at + 4, count};
}

Result<XattrView> TreeImage::xattr_next(XattrCursor& cursor) const {
    const std::byte* head = range(xattrs_, cursor.at, 8);
    if (head == nullptr) return kBroken;
    uint32_t name_length = load_le<uint16_t>(head);
    uint32_t value_length = load_le<uint32_t>(head + 4);
    uint64_t length = uint64_t{8} + name_length + value_length;
    if (name_length == 0 || name_length > kMaxNameLength) return kBroken;
    const std::byte* record = range(xattrs_, cursor.at, length);
    if (record == nullptr) return kBroken;
    const char* text = reinterpret_cast<const char*>(record + 8);
    XattrView view{{text, name_length}, {text + name_length, value_length}};
    if (std::memchr(text, 0, name_length) != nullptr) return kBroken;
    // The engine keeps its own records under this prefix: an image must not be able to forge one.
    if (view.name.starts_with("trusted.templatefs.")) return kBroken;
    cursor.at += align_up(length, 4);
    cursor.left -= 1;
    return view;
}

Result<XattrView> TreeImage::xattr(const TreeNode& node, std::string_view name) const {
    XattrCursor cursor = TRY(xattr_begin(node));
    while (cursor.left > 0) {
        XattrView view = TRY(xattr_next(cursor));
        if (view.name == name) return view;
        if (view.name > name) break;
    }
    return Errno(ENODATA);
}

Result<void> TreeImage::check_all_pages() const {
    if (load_le<uint32_t>(bytes_ + checks_.offset) != 0) return kBroken;
    for (uint64_t page = 1; page < page_count_; ++page) {
        if (!check_page(page)) return kBroken;
    }
    return {};
}

void TreeImage::drop_pages() const {
    if (bytes_ != nullptr) ::madvise(const_cast<std::byte*>(bytes_), mapped_size_, MADV_DONTNEED);
}

void TreeImage::unmap() {
    if (bytes_ != nullptr) ::munmap(const_cast<std::byte*>(bytes_), mapped_size_);
    if (checked_ != nullptr) ::munmap(checked_, (page_count_ / 64 + 1) * 8);
    bytes_ = nullptr;
    checked_ = nullptr;
}

TreeImage::TreeImage(TreeImage&& other) noexcept { *this = std::move(other); }

TreeImage& TreeImage::operator=(TreeImage&& other) noexcept {
    if (this == &other) return *this;
    unmap();
    bytes_ = std::exchange(other.bytes_, nullptr);
    checked_ = std::exchange(other.checked_, nullptr);
    mapped_size_ = other.mapped_size_;
    page_count_ = other.page_count_;
    nodes_ = other.nodes_;
    entries_ = other.entries_;
    objects_ = other.objects_;
    xattrs_ = other.xattrs_;
    strings_ = other.strings_;
    checks_ = other.checks_;
    totals_ = other.totals_;
    return *this;
}

TreeImage::~TreeImage() { unmap(); }

}  // namespace templatefs
