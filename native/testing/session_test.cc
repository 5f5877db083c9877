// The whole engine but for the real kernel: requests go in at one end, and what comes out is checked at both ends, the
// answers and the private area on the host.

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/xattr.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "testing/session_fixture.h"

using namespace templatefs;
using namespace templatefs::testing;

TEST_CASE("an untouched root shows the tree and leaves no trace") {
    ROOT_ONLY;
    SessionFixture f;
    CHECK(f.attr("/").ino == 1);
    CHECK(f.names("/") == Names{"dev", "etc", "usr", "var"});
    CHECK(f.names("/etc") == Names{"default", "empty", "hosts", "motd"});
    CHECK(f.names("/var/empty").empty());
    CHECK(f.text("/etc/motd") == "welcome\n");
    CHECK(f.text("/etc/empty") == "");
    CHECK(f.text("/usr/bin/prog2") == std::string(10'000, 'p'));
    CHECK(f.kernel.readlink(f.id("/usr/bin/link")).text == "prog");
    fuse_attr motd = f.attr("/etc/motd");
    CHECK(motd.mode == (S_IFREG | 0640));
    CHECK(motd.uid == 3);
    CHECK(motd.gid == 4);
    CHECK(motd.mtime == 2000);
    CHECK(motd.mtimensec == 5);
    CHECK(motd.size == 8);
    CHECK(motd.ino == f.tree.node_of("/etc/motd") + 1u);
    CHECK(f.attr("/dev/null").rdev == 0x103);
    CHECK(f.attr("/usr/bin/prog").ino == f.attr("/usr/bin/prog2").ino);
    CHECK(f.attr("/usr/bin/prog").nlink == 2);
    CHECK(f.attr("/etc").nlink == 3);
    CHECK(f.error("/etc/nothing") == ENOENT);
    CHECK(f.error("/etc/motd/x") == ENOTDIR);
    CHECK(f.kernel.getxattr(f.id("/usr/bin/prog"), "user.note").text == "n");
    CHECK(f.kernel.getxattr_size(f.id("/usr/bin/prog"), "security.capability").size == 20);
    CHECK(f.kernel.getxattr(f.id("/usr/bin/prog"), "security.capability", 5).error == ERANGE);
    CHECK(f.kernel.getxattr(f.id("/etc/motd"), "user.note").error == ENODATA);
    CHECK(f.kernel.listxattr(f.id("/usr/bin/prog")).text == std::string("security.capability\0user.note\0", 30));
    CHECK(f.kernel.listxattr_size(f.id("/usr/bin/prog")).size == 30);
    CHECK(f.kernel.listxattr(f.id("/usr/bin/prog"), 29).error == ERANGE);
    CHECK(f.kernel.listxattr_size(f.id("/etc/motd")).size == 0);
    CHECK(f.kernel.statfs().ok());
    CHECK(f.kernel.open(f.id("/etc"), O_RDONLY).error != 0);
    for (const char* folder : {"root", "inodes", "staging"}) {
        CHECK(::rmdir(f.store.folder().at(f.store.in_area(folder)).c_str()) == 0);
    }
    f.finish();
}

TEST_CASE("a change of metadata copies no content; a change of content copies it once") {
    ROOT_ONLY;
    SessionFixture f;
    uint64_t ino = f.attr("/etc/motd").ino;
    uint64_t etc_mtime = f.attr("/etc").mtime;
    CHECK(f.kernel.chmod(f.id("/etc/motd"), 0600).attr.mode == (S_IFREG | 0600));
    CHECK(f.kernel.chown(f.id("/etc/motd"), 70, 71).attr.uid == 70);
    CHECK(f.attr("/etc/motd").gid == 71);
    CHECK(f.attr("/etc/motd").mtime == 2000);
    CHECK(f.attr("/etc/motd").ino == ino);
    CHECK(f.attr("/etc").mtime == etc_mtime);
    CHECK(f.text("/etc/motd") == "welcome\n");
    struct stat host;
    REQUIRE(::stat(f.store.folder().at(f.store.in_root("/etc/motd")).c_str(), &host) == 0);
    CHECK(host.st_size == 8);
    CHECK(host.st_blocks == 0);
    CHECK((host.st_mode & 07777) == 0600);
    CHECK(host.st_uid == 70);

    CHECK(f.kernel.write_file("/etc/motd", "W") == 0);
    CHECK(f.text("/etc/motd") == "Welcome\n");
    CHECK(f.attr("/etc/motd").ino == ino);
    CHECK(f.attr("/etc/motd").mode == (S_IFREG | 0600));
    CHECK(f.attr("/etc/motd").mtime > 2000);
    CHECK(f.store.folder().read(f.store.in_root("/etc/motd")) == "Welcome\n");
    // Straight from the tree, without a change of metadata before.
    CHECK(f.kernel.write_file("/etc/hosts", "more\n", 20) == 0);
    CHECK(f.text("/etc/hosts") == "127.0.0.1 localhost\nmore\n");
    CHECK(f.kernel.write_file("/etc/empty", "full") == 0);
    CHECK(f.text("/etc/empty") == "full");
    CHECK(f.names("/etc") == Names{"default", "empty", "hosts", "motd"});

    SessionFixture::Restarted again(f.store);
    CHECK(again.kernel.read_file("/etc/motd").text == "Welcome\n");
    CHECK(again.kernel.walk("/etc/motd").entry.attr.ino == ino);
    CHECK(again.kernel.fault_text() == "");
    f.finish();
}

TEST_CASE("truncating opens and truncates") {
    ROOT_ONLY;
    SessionFixture f;
    CHECK(f.kernel.write_file("/etc/motd", "new", 0, O_WRONLY | O_TRUNC) == 0);
    CHECK(f.text("/etc/motd") == "new");
    CHECK(f.kernel.truncate(f.id("/etc/hosts"), 9).attr.size == 9);
    CHECK(f.text("/etc/hosts") == "127.0.0.1");
    CHECK(f.kernel.truncate(f.id("/etc/hosts"), 0).attr.size == 0);
    CHECK(f.text("/etc/hosts") == "");
    CHECK(f.kernel.truncate(f.id("/usr/bin/prog"), 20'000).attr.size == 20'000);
    CHECK(f.text("/usr/bin/prog2") == std::string(10'000, 'p') + std::string(10'000, '\0'));
    CHECK(f.kernel.truncate(f.id("/etc"), 0).error == EISDIR);
    CHECK(f.kernel.truncate(f.id("/etc/empty"), UINT64_MAX).error != 0);
    f.finish();
}

TEST_CASE("a reader from before sees what a writer does to a file that is not shared") {
    ROOT_ONLY;
    SessionFixture f;
    uint64_t id = f.id("/etc/motd");
    OpenAnswer reader = f.kernel.open(id, O_RDONLY);
    REQUIRE(reader.error == 0);
    CHECK(f.kernel.read(id, reader.fh, 0, 100).text == "welcome\n");
    CHECK(f.kernel.write_file("/etc/motd", "WELCOME") == 0);
    CHECK(f.kernel.read(id, reader.fh, 0, 100).text == "WELCOME\n");
    CHECK(f.kernel.release(id, reader.fh, O_RDONLY) == 0);
    CHECK(f.engine->header().opens == 0);
    f.finish();
}

TEST_CASE("xattrs are changed without content, and ours are not there for a container") {
    ROOT_ONLY;
    SessionFixture f;
    uint64_t id = f.id("/usr/bin/prog");
    CHECK(f.kernel.setxattr(id, "user.new", "value") == 0);
    CHECK(f.kernel.getxattr(id, "user.new").text == "value");
    CHECK(f.kernel.getxattr(id, "user.note").text == "n");
    CHECK(f.kernel.getxattr_size(id, "security.capability").size == 20);
    CHECK(f.kernel.setxattr(id, "user.new", "x", XATTR_CREATE) == EEXIST);
    CHECK(f.kernel.setxattr(id, "user.none", "x", XATTR_REPLACE) == ENODATA);
    CHECK(f.kernel.setxattr(id, "user.blank", "") == 0);
    CHECK(f.kernel.getxattr_size(id, "user.blank").size == 0);
    CHECK(f.kernel.removexattr(id, "user.note") == 0);
    CHECK(f.kernel.removexattr(id, "user.note") == ENODATA);
    CHECK(f.text("/usr/bin/prog") == std::string(10'000, 'p'));
    CHECK(f.attr("/usr/bin/prog").mode == (S_IFREG | 04755));

    for (const char* name : {"/usr/bin/prog", "/etc/motd", "/etc", "/"}) {
        CAPTURE(name);
        uint64_t at = f.id(name);
        CHECK(f.kernel.setxattr(at, "trusted.templatefs.node", "x") == EPERM);
        CHECK(f.kernel.setxattr(at, "trusted.templatefs.anything", "x") == EPERM);
        CHECK(f.kernel.getxattr(at, "trusted.templatefs.node").error == ENODATA);
        CHECK(f.kernel.removexattr(at, "trusted.templatefs.node") != 0);
        CHECK(f.kernel.listxattr(at).text.find("templatefs") == std::string::npos);
        CHECK(f.kernel.setxattr(at, "trusted.other", "y") == 0);
        CHECK(f.kernel.getxattr(at, "trusted.other").text == "y");
        CHECK(f.kernel.setxattr(at, "trusted.templatefs.node", "x") == EPERM);
        CHECK(f.kernel.getxattr(at, "trusted.templatefs.node").error == ENODATA);
        CHECK(f.kernel.removexattr(at, "trusted.templatefs.node") != 0);
        CHECK(f.kernel.listxattr(at).text.find("templatefs") == std::string::npos);
    }
    f.finish();
}

TEST_CASE("large merged folders are listed whole, in requests of any size, also while they change") {
    ROOT_ONLY;
    TestStore store;
    TreeBuilder tree;
    tree.folder("/big");
    for (int i = 0; i < 500; ++i) tree.file("/big/tree" + std::to_string(i), {});
    store.finish(tree);
    FakeKernel kernel;
    EngineThread engine(store, kernel);
    kernel.init();
    uint64_t big = kernel.walk("/big").nodeid();
    std::set<std::string> expected;
    for (int i = 0; i < 500; ++i) {
        expected.insert("tree" + std::to_string(i));
        auto made = kernel.mknod(big, "own" + std::to_string(i), S_IFREG | 0644);
        REQUIRE(made.error == 0);
        expected.insert("own" + std::to_string(i));
    }
    for (int i = 0; i < 500; i += 3) {
        REQUIRE(kernel.unlink(big, "tree" + std::to_string(i)) == 0);
        expected.erase("tree" + std::to_string(i));
    }
    for (int i = 1; i < 500; i += 7) {
        if (i % 3 != 0) {
            REQUIRE(kernel.chmod(kernel.lookup(big, "tree" + std::to_string(i)).nodeid(), 0600).error == 0);
        }
    }
    std::vector<std::string> sorted(expected.begin(), expected.end());
    for (uint32_t size : {200u, 1000u, 4096u, 65536u}) {
        CAPTURE(size);
        CHECK(kernel.readdir(big, true, size).names() == sorted);
        CHECK(kernel.readdir(big, false, size).names() == sorted);
    }
    // Entries that stay are seen exactly once while others come and go.
    std::multiset<std::string> seen;
    uint64_t offset = 0;
    for (int step = 0;; ++step) {
        auto part = kernel.readdir_part(big, offset, 2000, true);
        REQUIRE(part.error == 0);
        if (part.records.empty()) break;
        offset = part.records.back().offset;
        for (auto& record : part.records) seen.insert(record.name);
        REQUIRE(kernel.mknod(big, "during" + std::to_string(step), S_IFREG | 0644).error == 0);
        if (step > 0) REQUIRE(kernel.unlink(big, "during" + std::to_string(step - 1)) == 0);
        REQUIRE(step < 1000);
    }
    for (const auto& name : expected) {
        CAPTURE(name);
        CHECK(seen.count(name) == 1);
    }
    // A buffer that holds not even one entry gives none.
    CHECK(kernel.readdir_part(big, 0, 10, true).records.empty());
    for (uint64_t odd : {UINT64_MAX, uint64_t{1} << 62, uint64_t{1} << 40, uint64_t{1} << 61, (uint64_t{3} << 61) | 12345}) {
        auto part = kernel.readdir_part(big, odd, 4096, true);
        CHECK((part.error == 0 || part.error == EINVAL));
    }
    kernel.settle();
    CHECK(kernel.fault_text() == "");
}

TEST_CASE("what the kernel forgets costs no memory") {
    ROOT_ONLY;
    SessionFixture f;
    uint64_t etc = f.id("/etc");
    uint32_t before = f.engine->header().live_nodes;
    for (int i = 0; i < 200; ++i) {
        REQUIRE(f.kernel.mknod(etc, "n" + std::to_string(i), S_IFREG | 0644).error == 0);
    }
    (void)f.names("/etc");
    (void)f.names("/usr/bin");
    CHECK(f.engine->header().live_nodes >= before + 200);
    f.kernel.forget_all();
    CHECK(f.kernel.getattr(1).error == 0);
    // /etc itself is private now and stays.
    CHECK(f.engine->header().live_nodes <= before + 2);
    CHECK(f.names("/etc").size() == 204);
    for (int i = 0; i < 200; ++i) REQUIRE(f.kernel.unlink(etc, "n" + std::to_string(i)) == 0);
    f.kernel.forget_all();
    CHECK(f.kernel.getattr(1).error == 0);
    CHECK(f.engine->header().live_nodes <= before + 2);

    // A nodeid that was forgotten is no longer one.
    auto made = f.kernel.mknod(etc, "last", S_IFREG | 0644);
    f.kernel.forget(made.nodeid(), 1);
    CHECK(f.kernel.getattr(made.nodeid()).error == ESTALE);
    // Partly forgotten is not forgotten.
    auto twice = f.kernel.lookup(etc, "last");
    CHECK(f.kernel.lookup(etc, "last").nodeid() == twice.nodeid());
    CHECK(twice.nodeid() != made.nodeid());
    f.kernel.forget(twice.nodeid(), 1);
    CHECK(f.kernel.getattr(twice.nodeid()).error == 0);
    // More than was ever told, or of what never was: nothing happens.
    f.kernel.forget(twice.nodeid(), 1000);
    f.kernel.forget(1, 1000);
    f.kernel.forget(0, 1);
    f.kernel.forget(UINT64_MAX, UINT64_MAX);
    f.kernel.forget(12345678, 1);
    CHECK(f.kernel.getattr(1).error == 0);
    CHECK(f.text("/etc/motd") == "welcome\n");
    f.finish();
}

TEST_CASE("holes and ranges of files") {
    ROOT_ONLY;
    SessionFixture f;
    auto made = f.kernel.create(f.id("/var"), "sparse");
    uint64_t id = made.nodeid(), fh = made.open.fh;
    CHECK(f.kernel.write(id, fh, 1 << 20, "end").size == 3);
    CHECK(f.kernel.lseek(id, fh, 0, SEEK_DATA).size == 1 << 20);
    CHECK(f.kernel.lseek(id, fh, 0, SEEK_HOLE).size == 0);
    CHECK(f.kernel.lseek(id, fh, 2 << 20, SEEK_DATA).error == ENXIO);
    CHECK(f.kernel.lseek(id, fh, 0, SEEK_SET).error == EINVAL);
    CHECK(f.kernel.fallocate(id, fh, 0, 0, 4096) == 0);
    CHECK(f.kernel.fallocate(id, fh, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) == 0);
    CHECK(f.kernel.getattr(id).attr.size == (1 << 20) + 3);
    uint64_t source = f.id("/etc/motd");
    auto opened = f.kernel.open(source, O_RDONLY);
    CHECK(f.kernel.copy_file_range(source, opened.fh, 3, id, fh, 0, 100).size == 5);
    CHECK(f.kernel.read(id, fh, 0, 5).text == "come\n");
    // A file that is not open for writing cannot be the target.
    CHECK(f.kernel.copy_file_range(id, fh, 0, source, opened.fh, 0, 3).error != 0);
    CHECK(f.kernel.write(source, opened.fh, 0, "no").error != 0);
    CHECK(f.kernel.fallocate(source, opened.fh, 0, 0, 10) != 0);
    CHECK(f.kernel.release(source, opened.fh, O_RDONLY) == 0);
    CHECK(f.kernel.release(id, fh, O_RDWR) == 0);
    std::string large(1 << 20, 'L');
    CHECK(f.kernel.write_file("/var/sparse", large) == 0);
    CHECK(f.text("/var/sparse").substr(0, 1 << 20) == large);
    CHECK(f.text("/etc/motd") == "welcome\n");
    f.finish();
}

TEST_CASE("owners, set-group-id folders and times") {
    ROOT_ONLY;
    SessionFixture f;
    uint64_t var = f.id("/var");
    CHECK(f.kernel.chown(var, 0, 900).error == 0);
    CHECK(f.kernel.chmod(var, 02775).attr.mode == (S_IFDIR | 02775));
    f.kernel.act_as({500, 500, 1});
    auto file = f.kernel.mknod(var, "file", S_IFREG | 0664);
    CHECK(file.entry.attr.gid == 900);
    CHECK(file.entry.attr.uid == 500);
    auto folder = f.kernel.mkdir(var, "folder", 0775);
    CHECK(folder.entry.attr.gid == 900);
    CHECK(folder.entry.attr.mode == (S_IFDIR | 02775));
    CHECK(f.kernel.symlink(var, "link", "x").entry.attr.uid == 500);
    CHECK(f.kernel.utimes(file.nodeid(), -10, 123456).attr.mtime == 123456);
    CHECK(static_cast<int64_t>(f.attr("/var/file").atime) == -10);
    CHECK(f.kernel.chmod(file.nodeid(), 06755).attr.mode == (S_IFREG | 06755));
    CHECK(f.kernel.utimes(f.id("/usr/bin/link"), 5, 6).attr.mtime == 6);
    CHECK(f.kernel.chown(f.id("/usr/bin/link"), 8, 9).attr.uid == 8);
    CHECK(f.kernel.readlink(f.id("/usr/bin/link")).text == "prog");
    CHECK(f.kernel.chown(f.id("/dev/null"), 8, 9).attr.rdev == 0x103);
    CHECK(f.attr("/dev/null").mode == (S_IFCHR | 0666));
    f.finish();
}

TEST_CASE("requests that no kernel sends are refused and change nothing") {
    ROOT_ONLY;
    SessionFixture f;
    uint64_t etc = f.id("/etc"), motd = f.id("/etc/motd");
    auto error_of = [&](uint32_t opcode, uint64_t node, const std::string& arguments) {
        return f.kernel.call(opcode, node, std::as_bytes(std::span(arguments))).error;
    };
    SUBCASE("each opcode, cut short at every byte") {
        for (uint32_t opcode = 0; opcode < 70; ++opcode) {
            if (opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET || opcode == FUSE_INTERRUPT || opcode == FUSE_INIT ||
                opcode == FUSE_DESTROY) {
                continue;
            }
            for (size_t size = 0; size <= 80; ++size) {
                (void)error_of(opcode, motd, std::string(size, '\0'));
                (void)error_of(opcode, etc, std::string(size, '\xff'));
                // A name that never ends.
                (void)error_of(opcode, 1, std::string(size, 'n'));
            }
        }
        CHECK(f.names("/") == Names{"dev", "etc", "usr", "var"});
    }
    SUBCASE("bad names") {
        for (std::string name : {std::string(), std::string("."), std::string(".."), std::string("a/b"), std::string("/"),
                                 std::string("../etc"), std::string(256, 'n'), std::string(5000, 'n')}) {
            CAPTURE(name);
            CHECK(f.kernel.lookup(etc, name).error != 0);
            CHECK(f.kernel.mkdir(etc, name).error != 0);
            CHECK(f.kernel.mknod(etc, name, S_IFREG | 0644).error != 0);
            CHECK(f.kernel.create(etc, name).error != 0);
            CHECK(f.kernel.symlink(etc, name, "x").error != 0);
            CHECK(f.kernel.unlink(etc, name) != 0);
            CHECK(f.kernel.rmdir(etc, name) != 0);
            CHECK(f.kernel.rename(etc, name, etc, "x") != 0);
            CHECK(f.kernel.rename(etc, "motd", etc, name) != 0);
            CHECK(f.kernel.rename(etc, name, etc, "x", RENAME_NOREPLACE) != 0);
            CHECK(f.kernel.link(motd, etc, name).error != 0);
        }
        CHECK(f.kernel.symlink(etc, "long", std::string(4096, 'x')).error == ENAMETOOLONG);
        CHECK(f.kernel.symlink(etc, "none", "").error != 0);
    }
    SUBCASE("nodes that were never told of") {
        for (uint64_t node : {uint64_t{0}, uint64_t{100'000}, uint64_t{1} << 28, uint64_t{1} << 48, UINT64_MAX}) {
            CAPTURE(node);
            CHECK(f.kernel.getattr(node).error == ESTALE);
            CHECK(f.kernel.lookup(node, "x").error == ESTALE);
            CHECK(f.kernel.open(node, O_RDWR).error == ESTALE);
            CHECK(f.kernel.readdir(node).error == ESTALE);
            CHECK(f.kernel.mkdir(node, "x").error == ESTALE);
            CHECK(f.kernel.link(node, etc, "x").error == ESTALE);
            CHECK(f.kernel.rename(etc, "motd", node, "x") == ESTALE);
            CHECK(f.kernel.chmod(node, 0).error == ESTALE);
            CHECK(f.kernel.setxattr(node, "user.x", "y") == ESTALE);
            CHECK(f.kernel.write(node, 1, 0, "x").error == ESTALE);
            CHECK(f.kernel.read(node, 1, 0, 1).error == ESTALE);
            (void)f.kernel.release(node, 1, O_RDWR);
        }
    }
    SUBCASE("operations on the wrong type") {
        CHECK(f.kernel.lookup(motd, "x").error == ENOTDIR);
        CHECK(f.kernel.readdir(motd).error == ENOTDIR);
        CHECK(f.kernel.create(motd, "x").error == ENOTDIR);
        CHECK(f.kernel.readlink(motd).error == EINVAL);
        CHECK(f.kernel.read(etc, 1, 0, 10).error != 0);
        CHECK(f.kernel.write(etc, 1, 0, "x").error != 0);
        CHECK(f.kernel.read(f.id("/dev/null"), 1, 0, 10).error != 0);
        CHECK(f.kernel.open(f.id("/dev/null"), O_RDWR).error != 0);
        CHECK(f.kernel.open(f.id("/usr/bin/link"), O_RDONLY).error != 0);
        CHECK(f.kernel.mknod(etc, "dir", S_IFDIR | 0755).error == EINVAL);
        CHECK(f.kernel.mknod(etc, "odd", 0170000 | 0755).error == EINVAL);
    }
    SUBCASE("sizes that lie") {
        fuse_write_in in{};
        in.size = 1000;
        std::string arguments(reinterpret_cast<const char*>(&in), sizeof in);
        CHECK(error_of(FUSE_WRITE, motd, arguments + "short") == EINVAL);
        in.size = UINT32_MAX;
        arguments.assign(reinterpret_cast<const char*>(&in), sizeof in);
        CHECK(error_of(FUSE_WRITE, motd, arguments + "short") == EINVAL);
        fuse_setxattr_in xattr{};
        xattr.size = 100;
        arguments.assign(reinterpret_cast<const char*>(&xattr), sizeof xattr);
        CHECK(error_of(FUSE_SETXATTR, motd, arguments + std::string("user.x\0y", 8)) == EINVAL);
        auto opened = f.kernel.open(motd, O_RDONLY);
        CHECK(f.kernel.read(motd, opened.fh, UINT64_MAX, 10).error != 0);
        CHECK(f.kernel.read(motd, opened.fh, 1 << 30, 10).text.empty());
        CHECK(f.kernel.read(motd, opened.fh, 0, UINT32_MAX).text == "welcome\n");
        CHECK(f.kernel.release(motd, opened.fh, O_RDONLY) == 0);
        // A batch that says it has more than it has.
        fuse_batch_forget_in batch{1000, 0};
        fuse_forget_one one{motd, 1};
        arguments.assign(reinterpret_cast<const char*>(&batch), sizeof batch);
        arguments.append(reinterpret_cast<const char*>(&one), sizeof one);
        f.kernel.send(FUSE_BATCH_FORGET, 0, std::as_bytes(std::span(arguments)), false);
        f.kernel.send(FUSE_FORGET, motd, {}, false);
        f.kernel.send(FUSE_BATCH_FORGET, 0, {}, false);
        f.kernel.interrupt(4);
    }
    CHECK(f.text("/etc/motd") == "welcome\n");
    CHECK(f.names("/etc") == Names{"default", "empty", "hosts", "motd"});
    f.finish();
}
