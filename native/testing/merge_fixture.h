// A template and an engine, files of the container's own, and merging of them.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <array>
#include <optional>
#include <string>

#include "private/node_xattr.h"
#include "testing/engine_thread.h"

namespace templatefs::testing {

inline const std::string kOne(9'000, '1');
inline const std::string kTwo(9'000, '2');
// An atime that no read moves.
constexpr int64_t kLater = 4'000'000'000;
inline const std::string kLarge(2'100'000, 'L');
// struct posix_acl_xattr: u::rw-, u:7:r--, g::r--, m::r--, o::r--
inline const std::string kAcl("\2\0\0\0\1\0\6\0\377\377\377\377\2\0\4\0\7\0\0\0\4\0\4\0\377\377\377\377\20\0\4\0\377\377\377\377\40\0\4\0\377\377\377\377", 44);

struct MergeFixture {
    TestStore store;
    TreeBuilder tree;
    std::optional<FakeKernel> kernel_;
    std::optional<EngineThread> engine;
    std::string objects_before;

    explicit MergeFixture(const std::string& setting = "") {
        if (!setting.empty()) store.add_setting(setting);
        tree.folder("/usr");
        tree.folder("/usr/lib");
        store.add_file(tree, "/usr/lib/one", kOne);
        store.add_file(tree, "/usr/lib/two", kTwo);
        store.add_file(tree, "/usr/lib/large", kLarge);
        tree.folder("/var");
        store.finish(tree);
        objects_before = store.all_objects();
        start();
    }

    FakeKernel& kernel() { return *kernel_; }
    Root& root() { return engine->root(); }

    void start() {
        kernel_.emplace();
        engine.emplace(store, *kernel_);
        kernel().init();
    }
    void restart() {
        check_protocol();
        engine->stop();
        engine.reset();
        start();
    }
    void check_protocol() {
        kernel().settle();
        CHECK(kernel().fault_text() == "");
        CHECK(kernel().unanswered() == 0);
    }
    void finish() {
        check_protocol();
        engine->stop();
        CHECK(store.all_objects() == objects_before);
    }

    uint64_t id(std::string_view path) {
        auto found = kernel().walk(path);
        CAPTURE(path);
        REQUIRE(found.error == 0);
        return found.nodeid();
    }
    fuse_attr attr(std::string_view path) { return kernel().getattr(id(path)).attr; }
    std::string text(std::string_view path) { return kernel().read_file(path).text; }

    void create(const char* folder, const char* name, const std::string& content) {
        auto created = kernel().create(id(folder), name);
        REQUIRE(created.error == 0);
        constexpr size_t kPiece = 500'000;
        for (size_t at = 0; at < content.size(); at += kPiece)
            REQUIRE(kernel().write(created.nodeid(), created.open.fh, at, content.substr(at, kPiece)).error == 0);
        CHECK(kernel().release(created.nodeid(), created.open.fh, O_RDWR) == 0);
    }

    MergeRequest request(std::string_view path, const ObjectRef& object) {
        const fuse_attr now = attr(path);
        MergeRequest request;
        request.ino = now.ino;
        request.size = now.size;
        request.mtime = {static_cast<time_t>(now.mtime), static_cast<long>(now.mtimensec)};
        request.object = object;
        request.path = path;
        return request;
    }
    MergeAnswer merge(std::string_view path, const std::string& content) {
        return root().merge(request(path, store.object(content)), MergeBudget(1'000'000'000));
    }
    std::string skipped(std::string_view path, const std::string& content) {
        const MergeAnswer answer = merge(path, content);
        CHECK(answer.kind == MergeAnswer::Kind::Skipped);
        return answer.reason;
    }

    std::string host(const std::string& path) const { return store.folder().at(store.in_root(path)); }
    struct stat host_stat_of(const std::string& path) const {
        struct stat stat;
        REQUIRE(::lstat(host(path).c_str(), &stat) == 0);
        return stat;
    }
    bool is_link(const std::string& path) const {
        std::array<std::byte, 64> bytes;
        const ssize_t size = ::lgetxattr(host(path).c_str(), kNodeXattr, bytes.data(), bytes.size());
        REQUIRE(size > 0);
        return decode_node_info(std::span(bytes).first(static_cast<size_t>(size))).take().is_link();
    }
};

inline void check_same(const fuse_attr& a, const fuse_attr& b) {
    CHECK(a.ino == b.ino);
    CHECK(a.size == b.size);
    CHECK(a.blocks == b.blocks);
    CHECK(a.mode == b.mode);
    CHECK(a.nlink == b.nlink);
    CHECK(a.uid == b.uid);
    CHECK(a.gid == b.gid);
    CHECK(a.mtime == b.mtime);
    CHECK(a.mtimensec == b.mtimensec);
    CHECK(a.atime == b.atime);
    CHECK(a.atimensec == b.atimensec);
    CHECK(a.ctime == b.ctime);
    CHECK(a.ctimensec == b.ctimensec);
}

}  // namespace templatefs::testing

#define ROOT_ONLY \
    if (!templatefs::testing::is_root()) return
