// Merging: private files become links to objects with the same bytes, and a container sees nothing of it.

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <optional>
#include <string>

#include "testing/merge_fixture.h"

using namespace templatefs;
using namespace templatefs::testing;

TEST_CASE("a private file becomes a link, and nothing that the container sees has changed") {
    ROOT_ONLY;
    MergeFixture f;
    f.create("/var", "copy", kOne);
    const uint64_t id = f.id("/var/copy");
    REQUIRE(f.kernel().chown(id, 5, 6).error == 0);
    REQUIRE(f.kernel().chmod(id, 06755).error == 0);
    REQUIRE(f.kernel().setxattr(id, "user.note", "n") == 0);
    REQUIRE(f.kernel().setxattr(id, "system.posix_acl_access", kAcl) == 0);
    REQUIRE(f.kernel().utimes(id, kLater, 2000).error == 0);
    const fuse_attr before = f.attr("/var/copy");
    const std::string xattrs = f.kernel().listxattr(id).text;
    const auto check = [&] {
        check_same(before, f.attr("/var/copy"));
        CHECK(f.text("/var/copy") == kOne);
        CHECK(f.kernel().listxattr(f.id("/var/copy")).text == xattrs);
        CHECK(f.kernel().getxattr(f.id("/var/copy"), "system.posix_acl_access").text == kAcl);
    };
    CHECK(f.host_stat_of("/var/copy").st_blocks > 0);
    const MergeAnswer answer = f.merge("/var/copy", kOne);
    CHECK(answer.kind == MergeAnswer::Kind::Merged);
    CHECK(answer.freed >= 9'000);
    CHECK(f.is_link("/var/copy"));
    CHECK(f.host_stat_of("/var/copy").st_blocks * 512 < 9'000);
    check();
    // Again is no harm, and another object is none of ours.
    CHECK(f.merge("/var/copy", kOne).kind == MergeAnswer::Kind::Merged);
    CHECK(f.skipped("/var/copy", kTwo) == "a link to another object");
    f.restart();
    check();
    f.kernel().forget_all();
    check();
    // The first change of metadata by the container is one.
    const uint64_t again = f.id("/var/copy");
    REQUIRE(f.kernel().chmod(again, 0600).error == 0);
    const fuse_attr changed = f.attr("/var/copy");
    CHECK((changed.ctime != before.ctime || changed.ctimensec != before.ctimensec));
    CHECK(changed.mtime == before.mtime);
    f.finish();
}

TEST_CASE("each way of changing metadata shows in the ctime of a merged file") {
    ROOT_ONLY;
    MergeFixture f;
    const std::pair<const char*, std::function<int(uint64_t)>> ways[] = {
        {"setxattr", [&](uint64_t id) { return f.kernel().setxattr(id, "user.a", "1"); }},
        {"setxattr, new", [&](uint64_t id) { return f.kernel().setxattr(id, "user.b", "1", XATTR_CREATE); }},
        {"utimes", [&](uint64_t id) { return f.kernel().utimes(id, 1, 2).error; }},
        {"link", [&](uint64_t id) { return f.kernel().link(id, f.id("/var"), "other").error; }},
        {"rename", [&](uint64_t) { return f.kernel().rename(f.id("/var"), "copy", f.id("/usr"), "moved"); }},
    };
    for (const auto& [name, change] : ways) {
        CAPTURE(name);
        f.create("/var", "copy", kOne);
        const uint64_t ino = f.attr("/var/copy").ino;
        const uint64_t id = f.id("/var/copy");
        const fuse_attr before = f.attr("/var/copy");
        ::usleep(20'000);
        REQUIRE(f.merge("/var/copy", kOne).kind == MergeAnswer::Kind::Merged);
        CHECK(f.kernel().getattr(id).attr.ctimensec == before.ctimensec);
        REQUIRE(change(id) == 0);
        const fuse_attr after = f.kernel().getattr(id).attr;
        CHECK(after.ino == ino);
        CHECK((after.ctime != before.ctime || after.ctimensec != before.ctimensec));
        for (auto [folder, gone] : {std::pair{"/var", "copy"}, {"/var", "other"}, {"/usr", "moved"}}) (void)f.kernel().unlink(f.id(folder), gone);
    }
    f.finish();
}

TEST_CASE("a merged file can be written, truncated, unlinked and merged again") {
    ROOT_ONLY;
    MergeFixture f;
    f.create("/var", "copy", kOne);
    REQUIRE(f.merge("/var/copy", kOne).kind == MergeAnswer::Kind::Merged);
    REQUIRE(f.kernel().write_file("/var/copy", "X", 3) == 0);
    std::string expected = kOne;
    expected[3] = 'X';
    CHECK(f.text("/var/copy") == expected);
    CHECK(f.skipped("/var/copy", kOne) == "different");
    REQUIRE(f.kernel().write_file("/var/copy", "1", 3) == 0);
    CHECK(f.merge("/var/copy", kOne).kind == MergeAnswer::Kind::Merged);
    REQUIRE(f.kernel().truncate(f.id("/var/copy"), 10).error == 0);
    CHECK(f.text("/var/copy") == kOne.substr(0, 10));
    CHECK(f.skipped("/var/copy", kOne) == "different");
    REQUIRE(f.kernel().write_file("/var/copy", kTwo, 0, O_WRONLY | O_TRUNC) == 0);
    CHECK(f.merge("/var/copy", kTwo).kind == MergeAnswer::Kind::Merged);
    REQUIRE(f.kernel().unlink(f.id("/var"), "copy") == 0);
    f.create("/var", "copy", kTwo);
    CHECK(f.text("/var/copy") == kTwo);
    f.finish();
}

TEST_CASE("what must not be merged is left alone, with a reason") {
    ROOT_ONLY;
    MergeFixture f;
    f.create("/var", "copy", kOne);
    MergeRequest request = f.request("/var/copy", f.store.object(kOne));
    const auto skip = [&](const MergeRequest& wrong) {
        const MergeAnswer answer = f.root().merge(wrong, MergeBudget(1'000'000'000));
        CHECK(answer.kind == MergeAnswer::Kind::Skipped);
        CHECK_FALSE(f.is_link("/var/copy"));
        return std::string(answer.reason);
    };
    MergeRequest wrong = request;
    wrong.size++;
    CHECK(skip(wrong) == "changed");
    wrong = request;
    wrong.mtime.tv_nsec ^= 1;
    CHECK(skip(wrong) == "changed");
    wrong = request;
    wrong.ino += 1000;
    CHECK(skip(wrong) == "gone");
    wrong.path = "/var/none/copy";
    CHECK(skip(wrong) == "gone");
    wrong.path = "/../../../etc/passwd";
    CHECK(skip(wrong) == "gone");
    wrong.path = "/var/copy/x";
    CHECK(skip(wrong) == "gone");
    wrong = request;
    wrong.object = f.store.object(kTwo);  // the same size: bytes decide
    CHECK(skip(wrong) == "different");
    wrong.object = f.store.object(kLarge);
    CHECK(skip(wrong) == "different");
    wrong.object = {object_hash(77), 0, 9'000};
    const MergeAnswer missing = f.root().merge(wrong, MergeBudget(0));
    CHECK(missing.kind == MergeAnswer::Kind::Failed);
    CHECK(missing.error == EIO);
    CHECK_FALSE(f.is_link("/var/copy"));
    // Files of the tree, folders.
    CHECK(f.skipped("/usr/lib/one", kOne) == "gone");
    wrong = request;
    wrong.ino = f.attr("/var").ino;
    CHECK(skip(wrong) == "not private");

    const uint64_t id = f.id("/var/copy");
    auto writer = f.kernel().open(id, O_WRONLY);
    REQUIRE(writer.error == 0);
    CHECK(skip(request) == "open for writing");
    CHECK(f.kernel().release(id, writer.fh, O_WRONLY) == 0);
    // As a mapping does that has outlived its descriptor.
    int fd = ::open(f.host("/var/copy").c_str(), O_RDWR | O_CLOEXEC);
    CHECK(skip(request) == "mapped for writing");
    ::close(fd);
    const std::string capability("\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
    REQUIRE(f.kernel().setxattr(id, "security.capability", capability) == 0);
    CHECK(skip(request) == "has file capabilities");
    CHECK(f.kernel().getxattr(id, "security.capability").text == capability);
    REQUIRE(f.kernel().removexattr(id, "security.capability") == 0);
    auto reader = f.kernel().open(id, O_RDONLY);
    REQUIRE(f.kernel().unlink(f.id("/var"), "copy") == 0);
    const MergeAnswer deleted = f.root().merge(request, MergeBudget(0));
    CHECK(deleted.kind == MergeAnswer::Kind::Skipped);
    CHECK(std::string(deleted.reason) == "deleted");
    CHECK(f.kernel().read(id, reader.fh, 0, 10).text == "1111111111");
    CHECK(f.kernel().release(id, reader.fh, O_RDONLY) == 0);
    f.finish();
}

TEST_CASE("all names of a file stay names of one file") {
    ROOT_ONLY;
    MergeFixture f;
    f.create("/var", "copy", kOne);
    REQUIRE(f.kernel().link(f.id("/var/copy"), f.id("/var"), "second").error == 0);
    REQUIRE(f.kernel().link(f.id("/var/copy"), f.id("/usr/lib"), "third").error == 0);
    const fuse_attr before = f.attr("/var/copy");
    CHECK(before.nlink == 3);
    CHECK(f.merge("/var/second", kOne).kind == MergeAnswer::Kind::Merged);
    f.restart();
    for (const char* path : {"/var/copy", "/var/second", "/usr/lib/third"}) {
        check_same(before, f.attr(path));
        CHECK(f.text(path) == kOne);
        CHECK(f.is_link(path));
    }
    REQUIRE(f.kernel().write_file("/usr/lib/third", "X") == 0);
    CHECK(f.text("/var/copy")[0] == 'X');
    CHECK(f.attr("/var/second").nlink == 3);
    f.finish();
}

TEST_CASE("a file of the template that was written to and has several names there") {
    ROOT_ONLY;
    MergeFixture f;
    f.restart();
    TestStore store;
    TreeBuilder tree;
    store.add_file(tree, "/a", kTwo);
    tree.hard_link("/b", "/a");
    store.add_file(tree, "/c", kOne);
    store.finish(tree);
    FakeKernel kernel;
    EngineThread engine(store, kernel);
    kernel.init();
    REQUIRE(kernel.write_file("/a", kOne) == 0);
    const fuse_attr before = kernel.getattr(kernel.walk("/b").nodeid()).attr;
    MergeRequest request;
    request.ino = before.ino;
    request.size = before.size;
    request.mtime = {static_cast<time_t>(before.mtime), static_cast<long>(before.mtimensec)};
    request.object = store.object(kOne);
    request.path = "/b";
    CHECK(engine.root().merge(request, MergeBudget(0)).kind == MergeAnswer::Kind::Merged);
    CHECK(kernel.read_file("/b").text == kOne);
    CHECK(kernel.read_file("/a").text == kOne);
    check_same(before, kernel.getattr(kernel.walk("/a").nodeid()).attr);
    CHECK(kernel.fault_text() == "");
    engine.stop();
    f.finish();
}

TEST_CASE("content that somebody has mapped stays until it is unmapped, and a write is seen there") {
    ROOT_ONLY;
    MergeFixture f;
    f.create("/var", "copy", kOne);
    const auto map = [&] {
        int fd = ::open(f.host("/var/copy").c_str(), O_RDONLY | O_CLOEXEC);
        REQUIRE(fd >= 0);
        void* memory = ::mmap(nullptr, 9'000, PROT_READ, MAP_SHARED, fd, 0);
        REQUIRE(memory != MAP_FAILED);
        ::close(fd);
        return static_cast<const char*>(memory);
    };
    const char* mapped = map();
    CHECK(f.merge("/var/copy", kOne).kind == MergeAnswer::Kind::Kept);
    CHECK(f.is_link("/var/copy"));
    CHECK(f.host_stat_of("/var/copy").st_blocks * 512 >= 9'000);
    CHECK(f.text("/var/copy") == kOne);
    CHECK(std::string(mapped, 9'000) == kOne);
    CHECK(f.merge("/var/copy", kOne).kind == MergeAnswer::Kind::Kept);
    SUBCASE("it is unmapped, after a change of metadata") {
        REQUIRE(f.kernel().chmod(f.id("/var/copy"), 0600).error == 0);
        const fuse_attr before = f.attr("/var/copy");
        ::munmap(const_cast<char*>(mapped), 9'000);
        ::usleep(20'000);
        CHECK(f.merge("/var/copy", kOne).kind == MergeAnswer::Kind::Merged);
        check_same(before, f.attr("/var/copy"));
    }
    SUBCASE("it is unmapped") {
        ::munmap(const_cast<char*>(mapped), 9'000);
        const MergeAnswer later = f.merge("/var/copy", kOne);
        CHECK(later.kind == MergeAnswer::Kind::Merged);
        CHECK(later.freed >= 9'000);
        CHECK(f.text("/var/copy") == kOne);
    }
    SUBCASE("it is written to, after a restart, too") {
        f.restart();
        const fuse_attr before = f.attr("/var/copy");
        REQUIRE(f.kernel().write_file("/var/copy", "new") == 0);
        CHECK(std::string(mapped, 3) == "new");
        CHECK_FALSE(f.is_link("/var/copy"));
        CHECK(f.attr("/var/copy").ino == before.ino);
        CHECK(f.text("/var/copy") == "new" + kOne.substr(3));
        ::munmap(const_cast<char*>(mapped), 9'000);
    }
    SUBCASE("it is emptied and written") {
        REQUIRE(f.kernel().write_file("/var/copy", "other", 0, O_WRONLY | O_TRUNC) == 0);
        CHECK(std::string(mapped, 5) == "other");
        CHECK(f.text("/var/copy") == "other");
        ::munmap(const_cast<char*>(mapped), 9'000);
    }
    f.finish();
}

TEST_CASE("a file that is open is merged, and its readers see later writes") {
    ROOT_ONLY;
    MergeFixture f;
    f.create("/var", "copy", kOne);
    const uint64_t id = f.id("/var/copy");
    auto reader = f.kernel().open(id, O_RDONLY);
    CHECK(f.merge("/var/copy", kOne).kind == MergeAnswer::Kind::Merged);
    CHECK(f.kernel().read(id, reader.fh, 100, 10).text == "1111111111");
    REQUIRE(f.kernel().write_file("/var/copy", "new", 100) == 0);
    CHECK(f.kernel().read(id, reader.fh, 100, 5).text == "new11");
    CHECK(f.kernel().release(id, reader.fh, O_RDONLY) == 0);
    f.finish();
}

TEST_CASE("a large file is compared in pieces, and a write in between ends that") {
    ROOT_ONLY;
    MergeFixture f;
    f.create("/var", "copy", kLarge);
    const MergeRequest request = f.request("/var/copy", f.store.object(kLarge));
    uint64_t offset = 0;
    MergeAnswer answer = f.root().merge(request, MergeBudget(0));
    while (answer.kind == MergeAnswer::Kind::Unfinished && offset < 1'000'000) {
        CHECK(answer.offset > offset);
        offset = answer.offset;
        answer = f.root().merge(request, MergeBudget(0));
    }
    CHECK(offset >= 1'000'000);
    // Behind what was compared already; the times are put back, as a container may do.
    const fuse_attr before = f.attr("/var/copy");
    REQUIRE(f.kernel().write_file("/var/copy", "X", 5) == 0);
    fuse_setattr_in times{};
    times.valid = FATTR_MTIME;
    times.mtime = before.mtime;
    times.mtimensec = before.mtimensec;
    REQUIRE(f.kernel().setattr(f.id("/var/copy"), times).error == 0);
    answer = f.root().merge(request, MergeBudget(0));
    CHECK(answer.kind == MergeAnswer::Kind::Skipped);
    CHECK(std::string(answer.reason) == "different");
    CHECK(f.text("/var/copy")[5] == 'X');
    REQUIRE(f.kernel().write_file("/var/copy", "L", 5) == 0);
    CHECK(f.merge("/var/copy", kLarge).kind == MergeAnswer::Kind::Merged);
    f.finish();
}

TEST_CASE("a partial file becomes a link of what it shows") {
    ROOT_ONLY;
    MergeFixture f;
    // The same bytes again: written to, and still as the template has them.
    REQUIRE(f.kernel().write_file("/usr/lib/large", std::string(5'000, 'L'), 100'000) == 0);
    const fuse_attr before = f.attr("/usr/lib/large");
    CHECK_FALSE(f.is_link("/usr/lib/large"));
    CHECK(f.merge("/usr/lib/large", kLarge).kind == MergeAnswer::Kind::Merged);
    CHECK(f.is_link("/usr/lib/large"));
    check_same(before, f.attr("/usr/lib/large"));
    CHECK(f.text("/usr/lib/large") == kLarge);
    REQUIRE(f.kernel().write_file("/usr/lib/large", "X", 7) == 0);
    CHECK(f.skipped("/usr/lib/large", kLarge) == "different");
    f.finish();
}

TEST_CASE("what merging gives back counts for the quota") {
    ROOT_ONLY;
    MergeFixture f("quota-size 1000000000");
    f.create("/var", "copy", kOne);
    auto used = [&] {
        REQUIRE(f.root().refresh_usage().ok());
        return f.engine->usage().used_bytes;
    };
    const uint64_t before = used();
    const MergeAnswer answer = f.merge("/var/copy", kOne);
    CHECK(answer.kind == MergeAnswer::Kind::Merged);
    CHECK(used() + answer.freed == before);
    f.finish();
}

TEST_CASE("nothing of a merging stays in memory") {
    ROOT_ONLY;
    MergeFixture f;
    REQUIRE(f.kernel().mkdir(f.id("/var"), "a").error == 0);
    REQUIRE(f.kernel().mkdir(f.id("/var/a"), "b").error == 0);
    f.create("/var/a/b", "copy", kOne);
    const MergeRequest request = f.request("/var/a/b/copy", f.store.object(kOne));
    f.restart();
    (void)f.attr("/var");
    const uint32_t nodes = f.engine->header().live_nodes;
    CHECK(f.root().merge(request, MergeBudget(0)).kind == MergeAnswer::Kind::Merged);
    CHECK(f.engine->header().live_nodes == nodes);
    CHECK(f.text("/var/a/b/copy") == kOne);
    f.finish();
}
