// Names through the whole engine: making, removing, renaming and linking, seen at the kernel's end and on the host.

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "testing/session_fixture.h"

using namespace templatefs;
using namespace templatefs::testing;

TEST_CASE("making, reading and removing files and folders") {
    ROOT_ONLY;
    SessionFixture f;
    f.kernel.act_as({500, 600, 7});
    auto created = f.kernel.create(f.id("/etc"), "new", 0666, O_RDWR, 022);
    REQUIRE(created.error == 0);
    CHECK(created.entry.attr.mode == (S_IFREG | 0644));
    CHECK(created.entry.attr.uid == 500);
    CHECK(created.entry.attr.gid == 600);
    CHECK(created.entry.attr.nlink == 1);
    CHECK(created.entry.attr.ino >= kFirstPrivateIno);
    CHECK(f.kernel.write(created.nodeid(), created.open.fh, 0, "hello").size == 5);
    CHECK(f.kernel.write(created.nodeid(), created.open.fh, 5, " world").size == 6);
    CHECK(f.kernel.fsync(created.nodeid(), created.open.fh) == 0);
    CHECK(f.kernel.read(created.nodeid(), created.open.fh, 3, 4).text == "lo w");
    CHECK(f.kernel.release(created.nodeid(), created.open.fh, O_RDWR) == 0);
    CHECK(f.text("/etc/new") == "hello world");
    CHECK(f.kernel.create(f.id("/etc"), "new").error == EEXIST);
    CHECK(f.kernel.create(f.id("/etc"), "motd").error == EEXIST);
    CHECK(f.kernel.mkdir(f.id("/etc"), "motd").error == EEXIST);

    auto folder = f.kernel.mkdir(f.id("/var"), "lib", 0777, 027);
    REQUIRE(folder.error == 0);
    CHECK(folder.entry.attr.mode == (S_IFDIR | 0750));
    CHECK(folder.entry.attr.nlink == 2);
    CHECK(f.attr("/var").nlink == 4);
    REQUIRE(f.kernel.mkdir(folder.nodeid(), "sub").error == 0);
    CHECK(f.attr("/var/lib").nlink == 3);
    CHECK(f.kernel.symlink(folder.nodeid(), "link", "../../etc/new").error == 0);
    CHECK(f.kernel.readlink(f.id("/var/lib/link")).text == "../../etc/new");
    CHECK(f.kernel.mknod(folder.nodeid(), "pipe", S_IFIFO | 0600).error == 0);
    CHECK(f.kernel.mknod(folder.nodeid(), "disk", S_IFBLK | 0600, 0x810).entry.attr.rdev == 0x810);
    CHECK(f.kernel.mknod(folder.nodeid(), "sock", S_IFSOCK | 0600).error == 0);
    // A container's own 0:0 device is no whiteout.
    CHECK(f.kernel.mknod(folder.nodeid(), "zero", S_IFCHR | 0600, 0).error == 0);
    CHECK(f.names("/var/lib") == Names{"disk", "link", "pipe", "sock", "sub", "zero"});
    CHECK(f.kernel.rmdir(f.id("/var"), "lib") == ENOTEMPTY);
    CHECK(f.kernel.unlink(f.id("/var"), "lib") == EISDIR);
    CHECK(f.kernel.rmdir(f.id("/var/lib"), "pipe") == ENOTDIR);
    for (const char* name : {"disk", "link", "pipe", "sock", "zero"}) CHECK(f.kernel.unlink(folder.nodeid(), name) == 0);
    CHECK(f.kernel.rmdir(folder.nodeid(), "sub") == 0);
    CHECK(f.attr("/var/lib").nlink == 2);
    CHECK(f.kernel.rmdir(f.id("/var"), "lib") == 0);
    CHECK(f.error("/var/lib") == ENOENT);
    CHECK(f.attr("/var").nlink == 3);
    CHECK(f.kernel.unlink(f.id("/etc"), "new") == 0);
    CHECK(f.kernel.unlink(f.id("/etc"), "new") == ENOENT);
    CHECK(f.names("/etc") == Names{"default", "empty", "hosts", "motd"});
    f.finish();
}

TEST_CASE("removed template files and folders stay removed, and can be made anew") {
    ROOT_ONLY;
    SessionFixture f;
    uint64_t etc = f.id("/etc");
    CHECK(f.kernel.unlink(etc, "motd") == 0);
    CHECK(f.error("/etc/motd") == ENOENT);
    CHECK(f.names("/etc") == Names{"default", "empty", "hosts"});
    CHECK(f.attr("/etc").nlink == 3);
    CHECK(f.kernel.rmdir(etc, "default") == ENOTEMPTY);
    CHECK(f.kernel.unlink(f.id("/etc/default"), "grub") == 0);
    CHECK(f.kernel.rmdir(etc, "default") == 0);
    CHECK(f.names("/etc") == Names{"empty", "hosts"});
    CHECK(f.attr("/etc").nlink == 2);
    {
        SessionFixture::Restarted again(f.store);
        CHECK(again.kernel.walk("/etc/motd").error == ENOENT);
        CHECK(again.kernel.walk("/etc/default").error == ENOENT);
        CHECK(again.kernel.walk("/etc").entry.attr.nlink == 2);
        CHECK(again.kernel.readdir(etc).names() == Names{"empty", "hosts"});
    }
    // Anew: a file where a folder was, a folder where a file was. Nothing of the old shows through.
    auto file = f.kernel.create(etc, "default");
    REQUIRE(file.error == 0);
    CHECK(f.kernel.release(file.nodeid(), file.open.fh, O_RDWR) == 0);
    REQUIRE(f.kernel.mkdir(etc, "motd").error == 0);
    CHECK(f.names("/etc") == Names{"default", "empty", "hosts", "motd"});
    CHECK(f.names("/etc/motd").empty());
    CHECK(f.attr("/etc").nlink == 3);
    CHECK(f.kernel.rmdir(etc, "motd") == 0);
    CHECK(f.kernel.unlink(etc, "default") == 0);
    REQUIRE(f.kernel.mkdir(etc, "default").error == 0);
    CHECK(f.names("/etc/default").empty());
    SessionFixture::Restarted again(f.store);
    CHECK(again.kernel.readdir(again.kernel.walk("/etc").nodeid()).names() == Names{"default", "empty", "hosts"});
    CHECK(again.kernel.readdir(again.kernel.walk("/etc/default").nodeid()).names().empty());
    CHECK(again.kernel.fault_text() == "");
    f.finish();
}

TEST_CASE("an unlinked file lives as long as it is open") {
    ROOT_ONLY;
    SessionFixture f;
    uint64_t etc = f.id("/etc");
    SUBCASE("a template file") {
        uint64_t id = f.id("/etc/motd");
        auto opened = f.kernel.open(id, O_RDONLY);
        CHECK(f.kernel.unlink(etc, "motd") == 0);
        CHECK(f.kernel.read(id, opened.fh, 0, 100).text == "welcome\n");
        CHECK(f.kernel.getattr(id, opened.fh).attr.nlink == 0);
        CHECK(f.kernel.chmod(id, 0444).attr.mode == (S_IFREG | 0444));
        CHECK(f.kernel.read(id, opened.fh, 0, 100).text == "welcome\n");
        CHECK(f.kernel.release(id, opened.fh, O_RDONLY) == 0);
    }
    SUBCASE("a file of its own") {
        auto created = f.kernel.create(etc, "own");
        CHECK(f.kernel.unlink(etc, "own") == 0);
        CHECK(f.kernel.write(created.nodeid(), created.open.fh, 0, "still").size == 5);
        CHECK(f.kernel.read(created.nodeid(), created.open.fh, 0, 100).text == "still");
        CHECK(f.kernel.getattr(created.nodeid()).attr.nlink == 0);
        CHECK(f.kernel.getattr(created.nodeid()).attr.size == 5);
        CHECK(f.kernel.fsync(created.nodeid(), created.open.fh) == 0);
        CHECK(f.kernel.release(created.nodeid(), created.open.fh, O_RDWR) == 0);
        // Something may still hold the inode, but not the content.
        CHECK(f.kernel.getattr(created.nodeid()).attr.nlink == 0);
    }
    SUBCASE("a file that was replaced by a rename") {
        auto created = f.kernel.create(etc, "own");
        uint64_t id = f.id("/etc/motd");
        auto opened = f.kernel.open(id, O_RDONLY);
        CHECK(f.kernel.rename(etc, "own", etc, "motd") == 0);
        CHECK(f.kernel.read(id, opened.fh, 0, 100).text == "welcome\n");
        CHECK(f.kernel.getattr(id).attr.nlink == 0);
        CHECK(f.kernel.release(id, opened.fh, O_RDONLY) == 0);
        CHECK(f.kernel.release(created.nodeid(), created.open.fh, O_RDWR) == 0);
        CHECK(f.text("/etc/motd") == "");
    }
    SUBCASE("a file without a name, which gets one") {
        auto created = f.kernel.tmpfile(etc, 0640);
        REQUIRE(created.error == 0);
        CHECK(created.entry.attr.nlink == 0);
        CHECK(f.kernel.write(created.nodeid(), created.open.fh, 0, "later").size == 5);
        auto linked = f.kernel.link(created.nodeid(), etc, "named");
        CHECK(linked.error == 0);
        CHECK(linked.entry.attr.nlink == 1);
        CHECK(linked.nodeid() == created.nodeid());
        CHECK(f.kernel.release(created.nodeid(), created.open.fh, O_RDWR) == 0);
        CHECK(f.text("/etc/named") == "later");
        CHECK(f.kernel.unlink(etc, "named") == 0);
    }
    SUBCASE("a file without a name, which gets none") {
        auto created = f.kernel.tmpfile(etc, 0640);
        CHECK(f.kernel.write(created.nodeid(), created.open.fh, 0, "gone").size == 4);
        CHECK(f.kernel.release(created.nodeid(), created.open.fh, O_RDWR) == 0);
    }
    CHECK(f.engine->header().opens == 0);
    CHECK(::rmdir(f.store.folder().at(f.store.in_area("inodes")).c_str()) == 0);
    f.finish();
}

TEST_CASE("renames") {
    ROOT_ONLY;
    SessionFixture f;
    uint64_t etc = f.id("/etc"), var = f.id("/var");
    SUBCASE("a template file within its folder") {
        uint64_t ino = f.attr("/etc/motd").ino;
        CHECK(f.kernel.rename(etc, "motd", etc, "issue") == 0);
        CHECK(f.names("/etc") == Names{"default", "empty", "hosts", "issue"});
        CHECK(f.text("/etc/issue") == "welcome\n");
        CHECK(f.attr("/etc/issue").ino == ino);
        CHECK(f.error("/etc/motd") == ENOENT);
        CHECK(f.kernel.rename(etc, "issue", etc, "motd") == 0);
        CHECK(f.names("/etc") == Names{"default", "empty", "hosts", "motd"});
        CHECK(f.attr("/etc/motd").ino == ino);
    }
    SUBCASE("over another template file") {
        CHECK(f.kernel.rename(etc, "motd", etc, "hosts") == 0);
        CHECK(f.names("/etc") == Names{"default", "empty", "hosts"});
        CHECK(f.text("/etc/hosts") == "welcome\n");
    }
    SUBCASE("a template folder moves whole, and what is in it can be changed there") {
        uint64_t ino = f.attr("/etc/default").ino, grub = f.attr("/etc/default/grub").ino;
        CHECK(f.kernel.rename(etc, "default", var, "moved") == 0);
        CHECK(f.error("/etc/default") == ENOENT);
        CHECK(f.attr("/etc").nlink == 2);
        CHECK(f.attr("/var").nlink == 4);
        CHECK(f.attr("/var/moved").ino == ino);
        CHECK(f.attr("/var/moved/grub").ino == grub);
        CHECK(f.text("/var/moved/grub") == "GRUB=1\n");
        CHECK(f.kernel.write_file("/var/moved/grub", "grub") == 0);
        CHECK(f.text("/var/moved/grub") == "grub=1\n");
        auto created = f.kernel.create(f.id("/var/moved"), "new");
        CHECK(f.kernel.release(created.nodeid(), created.open.fh, O_RDWR) == 0);
        CHECK(f.names("/var/moved") == Names{"grub", "new"});
        // A new folder of the old name has nothing of the old one.
        REQUIRE(f.kernel.mkdir(etc, "default").error == 0);
        CHECK(f.names("/etc/default").empty());
        SessionFixture::Restarted again(f.store);
        CHECK(again.kernel.read_file("/var/moved/grub").text == "grub=1\n");
        CHECK(again.kernel.walk("/etc/default/grub").error == ENOENT);
        CHECK(again.kernel.fault_text() == "");
    }
    SUBCASE("flags") {
        CHECK(f.kernel.rename(etc, "motd", etc, "hosts", RENAME_NOREPLACE) == EEXIST);
        CHECK(f.kernel.rename(etc, "motd", etc, "fresh", RENAME_NOREPLACE) == 0);
        CHECK(f.kernel.rename(etc, "fresh", etc, "hosts", RENAME_EXCHANGE) == 0);
        CHECK(f.text("/etc/hosts") == "welcome\n");
        CHECK(f.text("/etc/fresh") == "127.0.0.1 localhost\n");
        CHECK(f.kernel.rename(etc, "default", etc, "hosts", RENAME_EXCHANGE) == 0);
        CHECK(f.text("/etc/default") == "welcome\n");
        CHECK(f.text("/etc/hosts/grub") == "GRUB=1\n");
        CHECK(f.attr("/etc").nlink == 3);
        CHECK(f.kernel.rename(etc, "fresh", etc, "none", RENAME_EXCHANGE) == ENOENT);
        CHECK(f.kernel.rename(etc, "fresh", etc, "x", RENAME_EXCHANGE | RENAME_NOREPLACE) == EINVAL);
        CHECK(f.kernel.rename(etc, "fresh", etc, "x", 1u << 20) == EINVAL);
    }
    SUBCASE("types that do not fit") {
        CHECK(f.kernel.rename(etc, "motd", etc, "default") == EISDIR);
        CHECK(f.kernel.rename(etc, "default", etc, "motd") == ENOTDIR);
        CHECK(f.kernel.rename(f.id("/usr"), "bin", etc, "default") == ENOTEMPTY);
        CHECK(f.kernel.rename(etc, "none", etc, "x") == ENOENT);
        CHECK(f.kernel.rename(etc, "default", var, "empty") == 0);
        CHECK(f.text("/var/empty/grub") == "GRUB=1\n");
        CHECK(f.attr("/var").nlink == 3);
    }
    SUBCASE("a folder over one whose template entries were all removed") {
        CHECK(f.kernel.unlink(f.id("/etc/default"), "grub") == 0);
        REQUIRE(f.kernel.mkdir(var, "full").error == 0);
        REQUIRE(f.kernel.symlink(f.id("/var/full"), "s", "t").error == 0);
        CHECK(f.kernel.rename(var, "full", etc, "default") == 0);
        CHECK(f.names("/etc/default") == Names{"s"});
        SessionFixture::Restarted again(f.store);
        CHECK(again.kernel.readdir(again.kernel.walk("/etc/default").nodeid()).names() == Names{"s"});
    }
    SUBCASE("chains of moves of folders within one another") {
        CHECK(f.kernel.rename(1, "etc", var, "etc") == 0);
        CHECK(f.kernel.rename(f.id("/var/etc"), "default", 1, "top") == 0);
        CHECK(f.kernel.rename(1, "var", f.id("/top"), "var") == 0);
        CHECK(f.text("/top/var/etc/motd") == "welcome\n");
        CHECK(f.text("/top/grub") == "GRUB=1\n");
        CHECK(f.kernel.write_file("/top/var/etc/hosts", "X") == 0);
        CHECK(f.names("/") == Names{"dev", "top", "usr"});
        CHECK(f.attr("/").nlink == 5);
        SessionFixture::Restarted again(f.store);
        CHECK(again.kernel.read_file("/top/var/etc/hosts").text == "X27.0.0.1 localhost\n");
        CHECK(again.kernel.read_file("/top/var/etc/motd").text == "welcome\n");
        CHECK(again.kernel.fault_text() == "");
    }
    f.finish();
}

TEST_CASE("hard links") {
    ROOT_ONLY;
    SessionFixture f;
    uint64_t bin = f.id("/usr/bin"), etc = f.id("/etc");
    SUBCASE("both template names show a change, whichever was used") {
        uint64_t ino = f.attr("/usr/bin/prog").ino;
        CHECK(f.kernel.write_file("/usr/bin/prog2", "Q") == 0);
        CHECK(f.text("/usr/bin/prog").substr(0, 2) == "Qp");
        CHECK(f.attr("/usr/bin/prog").ino == ino);
        CHECK(f.attr("/usr/bin/prog2").ino == ino);
        CHECK(f.id("/usr/bin/prog") == f.id("/usr/bin/prog2"));
        CHECK(f.attr("/usr/bin/prog").nlink == 2);
        CHECK(f.kernel.unlink(bin, "prog") == 0);
        CHECK(f.attr("/usr/bin/prog2").nlink == 1);
        CHECK(f.text("/usr/bin/prog2").substr(0, 2) == "Qp");
        SessionFixture::Restarted again(f.store);
        CHECK(again.kernel.walk("/usr/bin/prog").error == ENOENT);
        CHECK(again.kernel.read_file("/usr/bin/prog2").text.substr(0, 2) == "Qp");
        CHECK(again.kernel.walk("/usr/bin/prog2").entry.attr.nlink == 1);
    }
    SUBCASE("removing both template names") {
        CHECK(f.kernel.unlink(bin, "prog2") == 0);
        CHECK(f.attr("/usr/bin/prog").nlink == 1);
        CHECK(f.text("/usr/bin/prog") == std::string(10'000, 'p'));
        CHECK(f.kernel.unlink(bin, "prog") == 0);
        CHECK(f.names("/usr/bin") == Names{"link"});
        CHECK(::rmdir(f.store.folder().at(f.store.in_area("inodes")).c_str()) == 0);
    }
    SUBCASE("a new name for a template file, as dpkg makes one") {
        auto linked = f.kernel.link(f.id("/etc/motd"), etc, "motd.dpkg-tmp");
        REQUIRE(linked.error == 0);
        CHECK(linked.entry.attr.nlink == 2);
        CHECK(linked.nodeid() == f.id("/etc/motd"));
        CHECK(f.attr("/etc/motd.dpkg-tmp").ino == f.attr("/etc/motd").ino);
        auto fresh = f.kernel.create(etc, "motd.dpkg-new");
        CHECK(f.kernel.release(fresh.nodeid(), fresh.open.fh, O_RDWR) == 0);
        CHECK(f.kernel.rename(etc, "motd.dpkg-new", etc, "motd") == 0);
        CHECK(f.attr("/etc/motd.dpkg-tmp").nlink == 1);
        CHECK(f.text("/etc/motd.dpkg-tmp") == "welcome\n");
        CHECK(f.kernel.unlink(etc, "motd.dpkg-tmp") == 0);
        CHECK(f.text("/etc/motd") == "");
        CHECK(::rmdir(f.store.folder().at(f.store.in_area("inodes")).c_str()) == 0);
    }
    SUBCASE("names of a private file") {
        auto created = f.kernel.create(etc, "one");
        CHECK(f.kernel.write(created.nodeid(), created.open.fh, 0, "1").size == 1);
        CHECK(f.kernel.release(created.nodeid(), created.open.fh, O_RDWR) == 0);
        CHECK(f.kernel.link(created.nodeid(), f.id("/var"), "two").entry.attr.nlink == 2);
        CHECK(f.kernel.link(created.nodeid(), f.id("/var"), "two").error == EEXIST);
        CHECK(f.kernel.link(created.nodeid(), etc, "motd").error == EEXIST);
        CHECK(f.kernel.link(f.id("/var"), etc, "folder").error == EPERM);
        CHECK(f.kernel.rename(etc, "one", f.id("/var"), "two") == 0);  // the same inode: nothing happens
        CHECK(f.attr("/etc/one").nlink == 2);
        CHECK(f.kernel.unlink(etc, "one") == 0);
        CHECK(f.text("/var/two") == "1");
        SessionFixture::Restarted again(f.store);
        auto two = again.kernel.walk("/var/two");
        CHECK(two.entry.attr.nlink == 1);
        CHECK(two.entry.attr.ino == created.entry.attr.ino);
        CHECK(again.kernel.unlink(again.kernel.walk("/var").nodeid(), "two") == 0);
    }
    SUBCASE("over a whiteout") {
        CHECK(f.kernel.unlink(etc, "hosts") == 0);
        CHECK(f.kernel.link(f.id("/etc/motd"), etc, "hosts").error == 0);
        CHECK(f.text("/etc/hosts") == "welcome\n");
        CHECK(f.attr("/etc/hosts").nlink == 2);
    }
    f.finish();
}
