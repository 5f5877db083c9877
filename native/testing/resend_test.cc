// What the session does apart from any operation: the start of a connection, requests that are sent again, and messages
// that are none. No socket: messages are handed to Session::serve.

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <cstring>
#include <string>

#include "session/session.h"
#include "testing/fake_kernel.h"
#include "testing/test_store.h"

using namespace templatefs;
using namespace templatefs::testing;

namespace {

struct Bench {
    TestStore store;
    TreeBuilder tree;
    UniqueFd memory = SharedState::create().take();
    std::optional<SharedState> state;
    std::optional<Root> root;
    std::optional<Session> session;

    Bench() {
        tree.folder("/etc");
        store.add_file(tree, "/etc/motd", "welcome\n");
        store.finish(tree);
        worker(true);
    }
    // A new worker on the same memory; the one before is as good as dead.
    void worker(bool first) {
        session.reset();
        root.reset();
        state.reset();
        state.emplace(SharedState::attach(memory.get()).take());
        root.emplace(store.parts(), *state);
        REQUIRE((first ? root->recover() : root->settle()).ok());
        session.emplace(*root, -1, SessionOptions{.passthrough = false});
    }
    struct Reply {
        bool sent = false;
        fuse_out_header header{};
        Bytes body;
        int error() const { return -header.error; }
    };
    Reply serve_raw(std::span<const std::byte> message) {
        auto bytes = session->serve(message);
        Reply reply;
        reply.sent = !bytes.empty();
        if (!reply.sent) return reply;
        REQUIRE(bytes.size() >= sizeof reply.header);
        std::memcpy(&reply.header, bytes.data(), sizeof reply.header);
        CHECK(reply.header.len == bytes.size());
        reply.body.assign(bytes.begin() + sizeof reply.header, bytes.end());
        return reply;
    }
    Reply serve(uint32_t opcode, uint64_t node, uint64_t unique, std::string_view arguments) {
        fuse_in_header header{};
        header.len = static_cast<uint32_t>(sizeof header + arguments.size());
        header.opcode = opcode;
        header.nodeid = node;
        header.unique = unique;
        return serve_raw(FakeKernel::message(header, std::as_bytes(std::span(arguments))));
    }
    Reply init(uint32_t major = 7, uint32_t minor = 45) {
        fuse_init_in in{};
        in.major = major;
        in.minor = minor;
        in.flags = UINT32_MAX;
        in.flags2 = UINT32_MAX;
        return serve(FUSE_INIT, 0, 2, std::string_view(reinterpret_cast<const char*>(&in), sizeof in));
    }
    static std::string make_arguments(const char* name) {
        fuse_mknod_in in{};
        in.mode = S_IFREG | 0644;
        std::string text(reinterpret_cast<const char*>(&in), sizeof in);
        return text + name + std::string(1, '\0');
    }
};

}  // namespace

TEST_CASE("the start of a connection") {
    if (!is_root()) return;
    Bench b;
    SUBCASE("nothing is served before INIT") {
        CHECK(b.serve(FUSE_GETATTR, 1, 4, std::string(sizeof(fuse_getattr_in), '\0')).error() == EIO);
        CHECK(b.init().error() == 0);
        CHECK(b.serve(FUSE_GETATTR, 1, 6, std::string(sizeof(fuse_getattr_in), '\0')).error() == 0);
    }
    SUBCASE("a newer major asks again, older ones are refused") {
        auto newer = b.init(8, 0);
        CHECK(newer.error() == 0);
        InitOut out;
        REQUIRE(newer.body.size() >= sizeof out);
        std::memcpy(&out, newer.body.data(), sizeof out);
        CHECK(out.major == 7);
        CHECK_FALSE(b.session->initialized());
        CHECK(b.init(6, 9).error() == EPROTO);
        CHECK(b.init(7, 8).error() == EPROTO);
        CHECK(b.init().error() == 0);
        CHECK(b.session->initialized());
    }
    SUBCASE("an INIT that is too short") {
        CHECK(b.serve(FUSE_INIT, 0, 2, "short").error() == EINVAL);
        CHECK_FALSE(b.session->initialized());
    }
}

TEST_CASE("a request that was done and is sent again is answered and not done again") {
    if (!is_root()) return;
    Bench b;
    b.init();
    auto first = b.serve(FUSE_MKNOD, 1, 10, Bench::make_arguments("new"));
    REQUIRE(first.error() == 0);
    b.worker(false);
    auto again = b.serve(FUSE_MKNOD, 1, 10 | kUniqueResend, Bench::make_arguments("new"));
    CHECK(again.error() == 0);
    CHECK(again.header.unique == (10 | kUniqueResend));
    CHECK(again.body == first.body);
    // Another request of the same form is another request.
    CHECK(b.serve(FUSE_MKNOD, 1, 12, Bench::make_arguments("new")).error() == EEXIST);
    // The look-up was counted once.
    fuse_entry_out entry;
    std::memcpy(&entry, first.body.data(), sizeof entry);
    CHECK(b.root->nodes().find(entry.nodeid)->lookups == 1);
}

TEST_CASE("a request that was read and not done is done when it is sent again") {
    if (!is_root()) return;
    Bench b;
    b.init();
    b.worker(false);
    CHECK(b.serve(FUSE_MKNOD, 1, 10 | kUniqueResend, Bench::make_arguments("new")).error() == 0);
    CHECK(b.serve(FUSE_MKNOD, 1, 12, Bench::make_arguments("new")).error() == EEXIST);
}

TEST_CASE("a worker that takes over in the middle of a copy-up finds a file with several names") {
    if (!is_root()) return;
    Bench b;
    b.init();
    const uint64_t motd = b.tree.node_of("/etc/motd") + 1u;
    fuse_link_in link{};
    link.oldnodeid = motd;
    REQUIRE(b.serve(FUSE_LINK, 1, 10, std::string(reinterpret_cast<const char*>(&link), sizeof link) + std::string("second\0", 7)).error() == 0);
    const Node* node = b.root->nodes().find(motd);
    REQUIRE(node != nullptr);
    REQUIRE((node->flags & kNodeIndexed) != 0);
    Intent step{};
    step.kind = IntentKind::OwnContent;
    step.ino = node->ino;

    std::string_view content = "welcome\n";
    SUBCASE("which is still a link") {
        step.stat = host_stat(b.root->place(*b.root->nodes().find(motd)).take()).take();
    }
    SUBCASE("whose new content is there, but not noted") {
        File file = b.root->file(motd).take();
        REQUIRE(b.root->own_content(file, true).ok());
        content = "";
    }
    b.state->arm(step);
    b.worker(false);

    File file = b.root->file(motd).take();
    CHECK(b.root->has_own_content(file) == content.empty());
    CHECK(b.root->attributes(file).take().size == content.size());
    CHECK(b.root->attributes(file).take().nlink == 2);
    CHECK(b.serve(FUSE_LOOKUP, 1, 12, std::string("second\0", 7)).error() == 0);
}

TEST_CASE("messages that are none are not answered, or by an error") {
    if (!is_root()) return;
    Bench b;
    b.init();
    Bytes junk(39, std::byte{0xff});
    for (size_t size = 0; size <= junk.size(); ++size) {
        CHECK_FALSE(b.serve_raw(std::span(junk).first(size)).sent);
    }
    fuse_in_header header{};
    header.opcode = FUSE_GETATTR;
    header.unique = 20;
    header.nodeid = 1;
    for (uint32_t length : {0u, 39u, 41u, UINT32_MAX}) {
        header.len = length;
        auto reply = b.serve_raw(FakeKernel::message(header, {}));
        CHECK(reply.sent);
        CHECK(reply.error() == EINVAL);
        CHECK(reply.header.unique == 20);
    }
    // FORGET is never answered, however broken.
    header.opcode = FUSE_FORGET;
    CHECK_FALSE(b.serve_raw(FakeKernel::message(header, {})).sent);
    CHECK_FALSE(b.serve(FUSE_FORGET, 2, 22, "").sent);
    CHECK_FALSE(b.serve(FUSE_FORGET, 2, 24, std::string(8, '\1')).sent);
    CHECK_FALSE(b.serve(FUSE_BATCH_FORGET, 0, 26, std::string(8, '\1')).sent);
    CHECK_FALSE(b.serve(FUSE_INTERRUPT, 0, 29, std::string(8, '\1')).sent);
    CHECK(b.serve(60, 1, 30, "").error() == ENOSYS);
    CHECK(b.serve(100'000, 1, 32, "").error() == ENOSYS);
    CHECK(b.serve(FUSE_FLUSH, 1, 34, std::string(24, '\0')).error() == ENOSYS);
    CHECK(b.serve(FUSE_OPENDIR, 1, 36, std::string(8, '\0')).error() == ENOSYS);
}

TEST_CASE("a root that is broken underneath answers EIO and goes on") {
    if (!is_root()) return;
    Bench b;
    b.init();
    std::string open_arguments(sizeof(fuse_open_in), '\0');
    uint64_t motd = b.tree.node_of("/etc/motd") + 1u;
    // The object is gone.
    b.store.folder().make_folders("gone");
    REQUIRE(::rename(b.store.folder().at(b.store.object_file("welcome\n")).c_str(), b.store.folder().at("gone/object").c_str()) == 0);
    CHECK(b.serve(FUSE_OPEN, motd, 40, open_arguments).error() == 0);
    fuse_read_in read{};
    read.size = 100;
    std::string read_arguments(reinterpret_cast<const char*>(&read), sizeof read);
    CHECK(b.serve(FUSE_READ, motd, 42, read_arguments).error() == EIO);
    // A node xattr that is none.
    auto made = b.serve(FUSE_MKNOD, 1, 44, Bench::make_arguments("bad"));
    REQUIRE(made.error() == 0);
    REQUIRE(host_setxattr({AT_FDCWD, b.store.folder().at(b.store.in_root("/bad")).c_str()}, kNodeXattr,
                          std::as_bytes(std::span("nonsense")), 0)
                .ok());
    CHECK(b.serve(FUSE_LOOKUP, 1, 46, std::string("bad\0", 4)).error() == EIO);
    CHECK(b.serve(FUSE_LOOKUP, 1, 48, std::string("etc\0", 4)).error() == 0);
}
