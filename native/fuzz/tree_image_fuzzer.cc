// Tree images. The last byte says whether the checksums are made right first: without that nearly every change is refused
// by the first page's check, and what stands behind it is never tried. What is read from an image must lie within it,
// every walk must end, and a root on a broken image must answer with errors.

#include <fcntl.h>

#include "base/crc32.h"
#include "base/little_endian.h"
#include "fuzz/scratch.h"
#include "testing/temp_folder.h"
#include "tree/tree_format.h"

namespace templatefs::fuzz {
namespace {

constexpr size_t kMostSteps = 4000;
const std::string kDigest(64, 'd');

// As testing::reseal, for images of which nothing can be relied on.
void seal(std::vector<std::byte>& image) {
    using namespace tree_format;
    if (image.size() < kHeaderSize) return;
    std::byte* head = image.data();
    store_le<uint64_t>(head + header::kFileSizeAt, image.size());
    store_le<uint32_t>(head + header::kCrcAt, 0);
    store_le<uint32_t>(head + header::kCrcAt, crc32({head, kHeaderSize}));
    const uint64_t checks = load_le<uint64_t>(head + header::kChecksOffsetAt);
    if (checks > image.size()) return;
    for (uint64_t page = 1; page < checks / kPageSize && checks + page * 4 + 4 <= image.size(); page++)
        store_le<uint32_t>(head + checks + page * 4, crc32({head + page * kPageSize, kPageSize}));
}

// Everything that can be asked about an image.
void read_all(const TreeImage& image) {
    size_t steps = 0;
    size_t bytes = 0;
    const auto look_at = [&](std::string_view text) {
        for (char c : text) bytes += static_cast<unsigned char>(c);
    };
    for (NodeIndex index = 0; index < image.node_count() && steps++ < kMostSteps; index++) {
        auto found = image.node(index);
        if (!found.ok()) continue;
        const TreeNode& node = found.value();
        if (auto target = image.symlink_target(node); target.ok()) look_at(target.value());
        (void)image.object(node).ok();
        (void)image.xattr(node, "user.a").ok();
        (void)image.for_each_xattr(node, [&](XattrView xattr) {
            look_at(xattr.name);
            look_at(xattr.value);
            if (xattr.name.starts_with("trusted.templatefs.")) finding("an image forges a node xattr");
            return steps++ < kMostSteps;
        }).ok();
        if (!node.is_dir()) continue;
        for (uint32_t position = 0; position < node.data_b && steps++ < kMostSteps; position++) {
            auto entry = image.entry(node, position);
            if (!entry.ok()) continue;
            std::string_view name = entry.value().name;
            look_at(name);
            if (name.empty() || name == "." || name == ".." || name.find('/') != name.npos) finding("an image has a name that is none");
            (void)image.find(node, name).ok();
            (void)image.child(index, node, name).ok();
            (void)image.child_at(index, node, position, nullptr).ok();
        }
    }
    (void)image.check_all_pages().ok();
    static volatile size_t kept;
    kept = kept + bytes;
}

}  // namespace

void fuzz_tree_image(Input input) {
    enter_scratch();
    static SmallStore& store = *new SmallStore;
    static const testing::TempFolder& folder = *new testing::TempFolder;
    if (input.empty()) return;
    std::vector<std::byte> image(input.begin(), input.end() - 1);
    const auto how = std::to_integer<uint8_t>(input.back());
    if (how % 4 != 0) seal(image);
    folder.write(kDigest, image, 0600);
    auto opened = TreeImage::open(folder.fd(), kDigest.c_str());
    if (!opened.ok()) {
        if (opened.error_code() != EUCLEAN) finding("refused with errno " + std::to_string(opened.error_code()));
        return;
    }
    read_all(opened.value());

    // A root on it: listed, read, and changed a little.
    store.reset();
    Root::Parts parts = store.parts();
    parts.tree = opened.take();
    UniqueFd memory = new_state();
    SharedState state = SharedState::attach(memory.get()).take();
    Root root(std::move(parts), state);
    if (!root.recover().ok()) return;
    Conversation kernel(root);
    kernel.init();
    (void)walk_root(kernel, 60);
    for (uint64_t nodeid = 1; nodeid < 12; nodeid++) {
        fuse_setattr_in change{};
        change.valid = FATTR_MODE;
        change.mode = 0700;
        kernel.request(FUSE_SETATTR, nodeid, std::as_bytes(std::span(&change, 1)));
        fuse_mkdir_in made{};
        std::vector<std::byte> arguments(sizeof made + 2, std::byte{'x'});
        std::memcpy(arguments.data(), &made, sizeof made);
        arguments.back() = std::byte{0};
        kernel.request(FUSE_MKDIR, nodeid, arguments);
    }
    (void)walk_root(kernel, 60);
    store.check_untouched();
}

}  // namespace templatefs::fuzz
