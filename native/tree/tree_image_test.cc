#include "tree/tree_image.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <vector>

#include "testing/temp_folder.h"
#include "testing/tree_builder.h"
#include "tree/tree_format.h"

using namespace templatefs;
using namespace templatefs::testing;
using namespace templatefs::tree_format;

namespace {

Result<TreeImage> open_bytes(const TempFolder& folder, const Bytes& image) {
    ::unlinkat(folder.fd(), "tree", 0);  // an image that is mapped must not change
    folder.write("tree", image);
    return TreeImage::open(folder.fd(), "tree");
}

TreeBuilder small_tree() {
    TreeBuilder tree;
    tree.root({.mode = 0755, .uid = 1, .gid = 2});
    tree.folder("/etc");
    tree.file("/etc/hostname", {.mode = 0640, .uid = 5, .size = 100, .hash = object_hash(7), .variant = 3});
    tree.file("/etc/empty", {});
    tree.folder("/usr", {.mode = 01777, .mtime_sec = -5, .mtime_nsec = 999'999'999});
    tree.symlink("/bin", "usr/bin");
    tree.special("/null", S_IFCHR, {.mode = 0666, .rdev = 0x103});
    tree.special("/pipe", S_IFIFO);
    tree.file("/cap", {.mode = 04755,
                       .size = 5000,
                       .hash = object_hash(1),
                       .xattrs = {{"security.capability", std::string("\1\0\0\2", 4)}, {"user.a", ""}, {"user.b", "v"}}});
    tree.hard_link("/usr/cap2", "/cap");
    return tree;
}

// Where things stand, for the tests that break them.
size_t node_at(uint32_t index) { return kHeaderSize + index * kNodeSize; }
size_t entry_at(const Bytes& image, uint32_t index) {
    return peek_u64(image, header::kEntriesOffsetAt) + index * kEntrySize;
}

constexpr size_t kNodeDataA = 40, kNodeDataB = 44, kNodeXattrs = 48, kNodeParent = 52, kNodeSizeField = 32;

}  // namespace

TEST_CASE("a tree image gives back what was put in") {
    TempFolder folder;
    TreeBuilder builder = small_tree();
    auto opened = open_bytes(folder, builder.build());
    REQUIRE(opened.ok());
    TreeImage& tree = opened.value();
    CHECK(tree.node_count() == 9);
    CHECK(tree.totals().regular_count == 3);
    CHECK(tree.totals().content_bytes == 5100);

    TreeNode root = tree.node(0).take();
    CHECK(root.is_dir());
    CHECK(root.mode == (S_IFDIR | 0755));
    CHECK(root.uid == 1);
    CHECK(root.gid == 2);
    CHECK(root.nlink == 4);
    CHECK(root.data_b == 6);

    auto etc = tree.child(0, root, "etc").take();
    CHECK(etc.index == builder.node_of("/etc"));
    auto hostname = tree.child(etc.index, etc.node, "hostname").take();
    CHECK(hostname.node.is_regular());
    CHECK(hostname.node.mode == (S_IFREG | 0640));
    CHECK(hostname.node.uid == 5);
    CHECK(hostname.node.size == 100);
    CHECK(hostname.node.blocks == 8);
    CHECK(hostname.node.parent == etc.index);
    ObjectRef object = tree.object(hostname.node).take();
    CHECK(object.hash == object_hash(7));
    CHECK(object.variant == 3);
    CHECK(object.size == 100);
    CHECK(tree.object(tree.child(etc.index, etc.node, "empty").take().node).error_code() == ENODATA);
    CHECK(tree.object(root).error_code() == EINVAL);

    auto usr = tree.child(0, root, "usr").take();
    CHECK(usr.node.mode == (S_IFDIR | 01777));
    CHECK(usr.node.mtime_sec == -5);
    CHECK(usr.node.mtime_nsec == 999'999'999);
    auto cap = tree.child(0, root, "cap").take();
    CHECK(cap.node.nlink == 2);
    CHECK(tree.child(usr.index, usr.node, "cap2").take().index == cap.index);

    auto bin = tree.child(0, root, "bin").take();
    CHECK(bin.node.is_symlink());
    CHECK(tree.symlink_target(bin.node).take() == "usr/bin");
    CHECK(tree.symlink_target(root).error_code() == EINVAL);
    CHECK(tree.child(0, root, "null").take().node.rdev == 0x103);

    CHECK(tree.check_all_pages().ok());
    tree.drop_pages();
    CHECK(tree.child(0, root, "pipe").take().node.mode == (S_IFIFO | 0644));
}

TEST_CASE("names that are not there") {
    TempFolder folder;
    auto opened = open_bytes(folder, small_tree().build());
    TreeImage& tree = opened.value();
    TreeNode root = tree.node(0).take();
    for (std::string name : {std::string("a"), std::string("zzz"), std::string("et"), std::string("etcetera"), std::string(),
                             std::string("etc\0", 4), std::string("."), std::string(".."), std::string("etc/hostname"),
                             std::string(256, 'e'), std::string("\xff\xff\xff\xff")}) {
        CAPTURE(name);
        CHECK(tree.find(root, name).error_code() == ENOENT);
        CHECK(tree.child(0, root, name).error_code() == ENOENT);
    }
    auto bin = tree.child(0, root, "bin").take();
    CHECK(tree.find(bin.node, "x").error_code() == ENOTDIR);
    CHECK(tree.entry(root, root.data_b).error_code() == EINVAL);
    CHECK(tree.node(tree.node_count()).error_code() == EUCLEAN);
    CHECK(tree.node(0xffffffff).error_code() == EUCLEAN);
}

TEST_CASE("every name of a large folder is found, also where prefixes are equal") {
    TempFolder folder;
    TreeBuilder builder;
    std::vector<std::string> names;
    for (int i = 0; i < 3000; ++i) {
        names.push_back("libsame" + std::to_string(i * 7919 % 3001));
        names.push_back(std::string(1, static_cast<char>(i % 200 + 48)) + std::to_string(i));
    }
    for (auto& name : names) builder.file("/" + name, {});
    builder.file("/ab", {});
    builder.file("/abc", {});
    builder.file("/abcd", {});
    builder.file("/abcde", {});
    builder.file("/" + std::string(255, '\xfe'), {});
    auto opened = open_bytes(folder, builder.build());
    REQUIRE(opened.ok());
    TreeImage& tree = opened.value();
    TreeNode root = tree.node(0).take();
    std::string before;
    for (uint32_t i = 0; i < root.data_b; ++i) {
        std::string_view name;
        auto child = tree.child_at(0, root, i, &name);
        REQUIRE(child.ok());
        REQUIRE(before < name);
        before = name;
        REQUIRE(tree.find(root, name).value() == i);
        REQUIRE(tree.find(root, std::string(name) + "\x01").error_code() == ENOENT);
    }
    CHECK(root.data_b == names.size() + 5);
}

TEST_CASE("xattrs are listed in order and found by name") {
    TempFolder folder;
    auto opened = open_bytes(folder, small_tree().build());
    TreeImage& tree = opened.value();
    TreeNode root = tree.node(0).take();
    TreeNode cap = tree.child(0, root, "cap").take().node;
    std::string all;
    REQUIRE(tree.for_each_xattr(cap, [&](XattrView xattr) {
                    all += std::string(xattr.name) + "=" + std::to_string(xattr.value.size()) + " ";
                    return true;
                }).ok());
    CHECK(all == "security.capability=4 user.a=0 user.b=1 ");
    CHECK(tree.xattr(cap, "user.b").take().value == "v");
    CHECK(tree.xattr(cap, "user.a").take().value.empty());
    CHECK(tree.xattr(cap, "user.ab").error_code() == ENODATA);
    CHECK(tree.xattr(cap, "zzz").error_code() == ENODATA);
    CHECK(tree.xattr(root, "user.a").error_code() == ENODATA);
    int calls = 0;
    CHECK(tree.for_each_xattr(cap, [&](XattrView) { return ++calls < 2; }).ok());
    CHECK(calls == 2);
}

TEST_CASE("a moved image keeps its views") {
    TempFolder folder;
    auto opened = open_bytes(folder, small_tree().build());
    TreeImage first = opened.take();
    TreeNode root = first.node(0).take();
    std::string_view name = first.entry(root, 0).take().name;
    TreeImage second(std::move(first));
    auto other = open_bytes(folder, TreeBuilder().build());
    TreeImage third = other.take();
    third = std::move(second);
    CHECK(name == "bin");
    CHECK(third.entry(root, 0).take().name.data() == name.data());
}

TEST_CASE("look-ups from several threads agree") {
    TempFolder folder;
    TreeBuilder builder;
    for (int i = 0; i < 2000; ++i) builder.file("/file" + std::to_string(i), {});
    auto opened = open_bytes(folder, builder.build());
    TreeImage& tree = opened.value();
    TreeNode root = tree.node(0).take();
    std::vector<std::thread> threads;
    std::array<uint64_t, 4> sums{};
    for (auto& sum : sums) {
        threads.emplace_back([&] {
            for (int i = 0; i < 2000; ++i) sum += tree.child(0, root, "file" + std::to_string(i)).take().index;
        });
    }
    for (auto& thread : threads) thread.join();
    for (auto sum : sums) CHECK(sum == 2000u * 2001 / 2);
}

TEST_CASE("opening refuses what is no tree image") {
    TempFolder folder;
    const Bytes good = small_tree().build();
    CHECK(TreeImage::open(folder.fd(), "none").error_code() == ENOENT);
    folder.make_folders("folder");
    CHECK(TreeImage::open(folder.fd(), "folder").error_code() == EUCLEAN);
    REQUIRE(::symlinkat("tree", folder.fd(), "link") == 0);
    CHECK(TreeImage::open(folder.fd(), "link").error_code() == ELOOP);
    REQUIRE(::mkfifoat(folder.fd(), "pipe", 0600) == 0);
    CHECK(TreeImage::open(folder.fd(), "pipe").error_code() == EUCLEAN);
    REQUIRE(open_bytes(folder, good).ok());

    for (size_t size : {size_t{0}, size_t{1}, size_t{4095}, size_t{4096}, size_t{8192}, good.size() - 1}) {
        CAPTURE(size);
        CHECK(open_bytes(folder, Bytes(good.begin(), good.begin() + static_cast<ptrdiff_t>(size))).error_code() == EUCLEAN);
    }
    Bytes longer = good;
    longer.push_back(std::byte{0});
    CHECK(open_bytes(folder, longer).error_code() == EUCLEAN);
}

TEST_CASE("any flipped bit of the header is refused at opening") {
    TempFolder folder;
    const Bytes good = small_tree().build();
    for (size_t at = 0; at < kHeaderSize; at = at < 128 ? at + 1 : at + 61) {
        Bytes bad = good;
        bad[at] ^= std::byte{1};
        CAPTURE(at);
        REQUIRE(open_bytes(folder, bad).error_code() == EUCLEAN);
    }
}

TEST_CASE("header fields that lie are refused although their CRC is right") {
    TempFolder folder;
    const Bytes good = small_tree().build();
    auto refused_u32 = [&](size_t at, uint32_t value) {
        Bytes bad = good;
        patch_u32(bad, at, value);
        reseal_header(bad);
        return open_bytes(folder, bad).error_code();
    };
    using namespace header;
    CHECK(refused_u32(kVersionAt, 2) == EUCLEAN);
    CHECK(refused_u32(kFlagsAt, 1) == EUCLEAN);
    CHECK(refused_u32(kReserved1At, 1) == EUCLEAN);
    CHECK(refused_u32(kReserved2At, 1) == EUCLEAN);
    CHECK(refused_u32(200, 1) == EUCLEAN);
    CHECK(refused_u32(kNodeCountAt, 0) == EUCLEAN);
    CHECK(refused_u32(kNodeCountAt, 1u << 28) == EUCLEAN);
    CHECK(refused_u32(kNodeCountAt, 0xffffffff) == EUCLEAN);
    CHECK(refused_u32(kEntryCountAt, 0xffffffff) == EUCLEAN);
    CHECK(refused_u32(kObjectCountAt, 0xffffffff) == EUCLEAN);
    for (size_t at : {kNodesOffsetAt, kEntriesOffsetAt, kObjectsOffsetAt, kXattrsOffsetAt, kStringsOffsetAt}) {
        CAPTURE(at);
        CHECK(refused_u32(at, peek_u32(good, at) + 64) == EUCLEAN);
        CHECK(refused_u32(at, 0) == EUCLEAN);
        CHECK(refused_u32(at + 4, 0xffffffff) == EUCLEAN);
    }
    CHECK(refused_u32(kXattrsSizeAt + 4, 1) == EUCLEAN);
    CHECK(refused_u32(kStringsSizeAt + 4, 1) == EUCLEAN);
    CHECK(refused_u32(kStringsSizeAt + 4, 0xffffffff) == EUCLEAN);
    CHECK(refused_u32(kFileSizeAt, 8192) == EUCLEAN);
    CHECK(refused_u32(kChecksOffsetAt, 4096) == EUCLEAN);
}

TEST_CASE("a root that is no folder is refused at opening") {
    TempFolder folder;
    Bytes bad = small_tree().build();
    patch_u32(bad, node_at(0), S_IFREG | 0644);
    reseal(bad);
    CHECK(open_bytes(folder, bad).error_code() == EUCLEAN);
}

TEST_CASE("a page whose CRC differs is refused on use and not before") {
    TempFolder folder;
    TreeBuilder builder;
    for (int i = 0; i < 1000; ++i) builder.file("/file" + std::to_string(i), {});
    Bytes bad = builder.build();
    uint32_t last = 1000;
    bad[node_at(last) + 4] ^= std::byte{0x10};
    auto opened = open_bytes(folder, bad);
    REQUIRE(opened.ok());
    TreeImage& tree = opened.value();
    CHECK(tree.node(1).ok());
    CHECK(tree.node(last).error_code() == EUCLEAN);
    CHECK(tree.node(last).error_code() == EUCLEAN);
    CHECK(tree.check_all_pages().error_code() == EUCLEAN);
    TreeNode root = tree.node(0).take();
    CHECK(tree.child_at(0, root, root.data_b - 1, nullptr).error_code() == EUCLEAN);
}

TEST_CASE("records that break the rules are errors on use") {
    TempFolder folder;
    TreeBuilder builder = small_tree();
    const Bytes good = builder.build();
    const uint32_t etc = builder.node_of("/etc"), cap = builder.node_of("/cap"), bin = builder.node_of("/bin");
    const uint32_t host = builder.node_of("/etc/hostname");
    // entries of the root: bin cap etc null pipe usr
    auto broken = [&](auto change) {
        Bytes bad = good;
        change(bad);
        reseal(bad);
        auto opened = open_bytes(folder, bad);
        REQUIRE(opened.ok());
        return opened.take();
    };
    auto root_child = [](const TreeImage& tree, std::string_view name) {
        return tree.child(0, tree.node(0).take(), name).error_code();
    };

    SUBCASE("an entry whose type differs from its node's") {
        auto tree = broken([&](Bytes& b) { b[entry_at(b, 0) + 6] = std::byte{8}; });
        CHECK(root_child(tree, "bin") == EUCLEAN);
        CHECK(root_child(tree, "cap") == 0);
    }
    SUBCASE("an entry that leads back to the root") {
        auto tree = broken([&](Bytes& b) { patch_u32(b, entry_at(b, 2) + 8, 0); });
        CHECK(root_child(tree, "etc") == EUCLEAN);
    }
    SUBCASE("a folder entered from another than its parent") {
        auto tree = broken([&](Bytes& b) { patch_u32(b, node_at(etc) + kNodeParent, 5); });
        CHECK(root_child(tree, "etc") == EUCLEAN);
    }
    SUBCASE("an entry whose node does not exist") {
        for (uint32_t index : {9u, 0xffffffffu}) {
            auto tree = broken([&](Bytes& b) { patch_u32(b, entry_at(b, 1) + 8, index); });
            CHECK(root_child(tree, "cap") == EUCLEAN);
        }
    }
    SUBCASE("a folder whose entries lie outside") {
        auto tree = broken([&](Bytes& b) { patch_u32(b, node_at(etc) + kNodeDataB, 0xffffffff); });
        CHECK(root_child(tree, "etc") == EUCLEAN);
        auto other = broken([&](Bytes& b) { patch_u32(b, node_at(etc) + kNodeDataA, 0xfffffff0); });
        CHECK(root_child(other, "etc") == EUCLEAN);
    }
    SUBCASE("names outside the strings, too long, empty") {
        auto far = broken([&](Bytes& b) { patch_u32(b, entry_at(b, 1), 0xfffffffe); });
        CHECK(root_child(far, "cap") == EUCLEAN);
        auto empty = broken([&](Bytes& b) { patch_u16(b, entry_at(b, 0) + 4, 0); });
        CHECK(empty.entry(empty.node(0).take(), 0).error_code() == EUCLEAN);
        auto length = broken([&](Bytes& b) { patch_u16(b, entry_at(b, 0) + 4, 256); });
        CHECK(length.entry(length.node(0).take(), 0).error_code() == EUCLEAN);
    }
    SUBCASE("names that no entry may have") {
        for (std::string name : {std::string("a/b"), std::string("a\0b", 3), std::string("...").substr(0, 2) + "x"}) {
            bool is_bad = name.find('/') != name.npos || name.find('\0') != name.npos;
            auto tree = broken([&](Bytes& b) {
                size_t strings = peek_u64(b, header::kStringsOffsetAt);
                uint32_t prefix = 0;
                for (size_t i = 0; i < 3; ++i) {
                    b[strings + i] = static_cast<std::byte>(name[i]);
                    prefix |= uint32_t{static_cast<uint8_t>(name[i])} << (24 - 8 * i);
                }
                patch_u32(b, entry_at(b, 0) + 12, prefix);
            });
            CHECK(tree.entry(tree.node(0).take(), 0).error_code() == (is_bad ? EUCLEAN : 0));
        }
        for (uint16_t dots : {uint16_t{1}, uint16_t{2}}) {
            auto tree = broken([&](Bytes& b) {
                size_t strings = peek_u64(b, header::kStringsOffsetAt);
                b[strings] = b[strings + 1] = std::byte{'.'};
                patch_u16(b, entry_at(b, 0) + 4, dots);
                patch_u32(b, entry_at(b, 0) + 12, dots == 1 ? 0x2e000000 : 0x2e2e0000);
            });
            CHECK(tree.entry(tree.node(0).take(), 0).error_code() == EUCLEAN);
        }
    }
    SUBCASE("nodes that no inode can be") {
        for (uint32_t mode : {0u, 0x1ffffu, 0x80000000u | S_IFREG, 0u | S_IFREG << 4}) {
            auto tree = broken([&](Bytes& b) { patch_u32(b, node_at(cap), mode); });
            CHECK(tree.node(cap).error_code() == EUCLEAN);
        }
        auto time = broken([&](Bytes& b) { patch_u32(b, node_at(cap) + 24, 1'000'000'000); });
        CHECK(time.node(cap).error_code() == EUCLEAN);
        auto size = broken([&](Bytes& b) { patch_u64(b, node_at(cap) + kNodeSizeField, uint64_t{1} << 63); });
        CHECK(size.node(cap).error_code() == EUCLEAN);
    }
    SUBCASE("symlink targets outside the strings, empty, too long") {
        for (uint64_t size : {uint64_t{0}, uint64_t{4096}, uint64_t{0xffffffff}, uint64_t{1} << 40}) {
            auto tree = broken([&](Bytes& b) { patch_u64(b, node_at(bin) + kNodeSizeField, size); });
            CHECK(tree.symlink_target(tree.node(bin).take()).error_code() == EUCLEAN);
        }
        auto far = broken([&](Bytes& b) { patch_u32(b, node_at(bin) + kNodeDataA, 0xffffffff); });
        CHECK(far.symlink_target(far.node(bin).take()).error_code() == EUCLEAN);
    }
    SUBCASE("objects that do not exist or have another size") {
        auto far = broken([&](Bytes& b) { patch_u32(b, node_at(host) + kNodeDataA, 2); });
        CHECK(far.object(far.node(host).take()).error_code() == EUCLEAN);
        auto none = broken([&](Bytes& b) { patch_u32(b, node_at(host) + kNodeDataA, kNoObject); });
        CHECK(none.object(none.node(host).take()).error_code() == EUCLEAN);
        auto size = broken([&](Bytes& b) { patch_u64(b, node_at(host) + kNodeSizeField, 99); });
        CHECK(size.object(size.node(host).take()).error_code() == EUCLEAN);
    }
    SUBCASE("xattr sets that do not fit") {
        for (uint32_t at : {2u, 3u, 5u, 0x1001u, 0xfffffffdu, 0xffffffffu}) {
            auto tree = broken([&](Bytes& b) { patch_u32(b, node_at(cap) + kNodeXattrs, at); });
            CAPTURE(at);
            CHECK(tree.xattr(tree.node(cap).take(), "zz").error_code() == EUCLEAN);
        }
        size_t set = peek_u64(good, header::kXattrsOffsetAt);
        for (uint32_t count : {0u, 4u, 0xffffffffu}) {
            auto tree = broken([&](Bytes& b) { patch_u32(b, set, count); });
            CHECK(tree.for_each_xattr(tree.node(cap).take(), [](XattrView) { return true; }).error_code() == EUCLEAN);
        }
        auto value = broken([&](Bytes& b) { patch_u32(b, set + 8, 0xffffffff); });
        CHECK(value.xattr(value.node(cap).take(), "security.capability").error_code() == EUCLEAN);
        auto name = broken([&](Bytes& b) { patch_u16(b, set + 4, 0); });
        CHECK(name.xattr(name.node(cap).take(), "security.capability").error_code() == EUCLEAN);
    }
}

TEST_CASE("no broken byte anywhere makes a reader crash or loop") {
    // Each byte in turn is changed and sealed again, and the whole tree is walked with every look-up.
    TempFolder folder;
    const Bytes good = small_tree().build();
    size_t end = peek_u64(good, header::kChecksOffsetAt);
    uint64_t visited = 0;
    auto walk = [&](auto self, const TreeImage& tree, NodeIndex index, const TreeNode& node, int depth) -> void {
        ++visited;
        (void)tree.for_each_xattr(node, [](XattrView xattr) { return xattr.name.size() < 300; }).ok();
        (void)tree.symlink_target(node).ok();
        (void)tree.object(node).ok();
        if (!node.is_dir() || depth > 10) return;
        for (uint32_t i = 0; i < node.data_b; ++i) {
            std::string_view name;
            auto child = tree.child_at(index, node, i, &name);
            if (!child.ok()) continue;
            (void)tree.find(node, name).ok();
            self(self, tree, child.value().index, child.value().node, depth + 1);
        }
    };
    for (size_t at = kHeaderSize; at < end; ++at) {
        if (at >= kHeaderSize + 2048 && at % 7 != 0) continue;
        for (std::byte flip : {std::byte{1}, std::byte{0x80}}) {
            Bytes bad = good;
            bad[at] ^= flip;
            reseal(bad);
            auto tree = open_bytes(folder, bad);
            if (!tree.ok()) continue;
            auto root = tree.value().node(0);
            if (root.ok()) walk(walk, tree.value(), 0, root.value(), 0);
        }
    }
    CHECK(visited > 10'000);
}
