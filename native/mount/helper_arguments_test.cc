#include "mount/helper_arguments.h"

#include <doctest/doctest.h>

#include <vector>

#include "mount/helper.h"

using namespace templatefs;

namespace {

Result<HelperArguments> parse(std::vector<std::string> words, std::string& problem) {
    std::vector<char*> argv{const_cast<char*>("mount.templatefs")};
    for (std::string& word : words) argv.push_back(word.data());
    return parse_helper_arguments(static_cast<int>(argv.size()), argv.data(), problem);
}

HelperArguments parsed(std::vector<std::string> words) {
    std::string problem;
    auto arguments = parse(std::move(words), problem);
    CAPTURE(problem);
    REQUIRE(arguments.ok());
    return arguments.take();
}

std::string refused(std::vector<std::string> words) {
    std::string problem;
    CHECK(!parse(std::move(words), problem).ok());
    return problem;
}

std::string maps_of(const HelperArguments& arguments) {
    if (!arguments.ids) return "settings";
    return id_map_text(arguments.ids->uids) + "/" + id_map_text(arguments.ids->gids);
}

}  // namespace

TEST_CASE("the helper knows its names") {
    for (const char* name : {"mount.templatefs", "mount.fuse.templatefs", "/sbin/mount.fuse.templatefs"}) CHECK(is_mount_helper(name));
    for (const char* name : {"templatefs-engine", "mount", "", "/sbin/mount.fuse.templatefs/x", "umount.templatefs"}) CHECK(!is_mount_helper(name));
}

TEST_CASE("the helper is called as mount(8) calls it") {
    const HelperArguments plain = parsed({"c1", "/mnt", "-o", "rw"});
    CHECK(plain.container == "c1");
    CHECK(plain.target == "/mnt");
    CHECK(plain.mount_options == "rw");
    CHECK(maps_of(plain) == "settings");
    CHECK((plain.passthrough && !plain.remount && !plain.fake && !plain.verbose && !plain.wait_ms && plain.store.empty()));
    const HelperArguments all = parsed({"c1", "/mnt", "-sfnv", "-t", "fuse.templatefs", "-o", "ro,store=/srv/a store,nosuid,wait=2.5,fsname=a/b"});
    CHECK((all.fake && all.verbose));
    CHECK(all.store == "/srv/a store");
    CHECK(all.mount_options == "ro,nosuid,fsname=a/b");
    CHECK(all.wait_ms == 2500);
    // Options may come first, and more than once.
    CHECK(parsed({"-o", "ro", "c1", "/mnt", "-o", "nodev"}).mount_options == "ro,nodev");
    // A file c1 in the folder where mount(8) was called.
    CHECK(parsed({"/root/c1", "/mnt"}).container == "c1");
}

TEST_CASE("what mount(8), fstab and systemd put into the options is no obstacle") {
    CHECK(parsed({"c1", "/mnt", "-o", "rw,defaults,nofail,_netdev,noauto,user=joe,comment=x,x-systemd.automount,X-mount.mkdir"}).mount_options ==
          "rw,defaults");
    // A remount repeats what /proc/mounts shows.
    const HelperArguments remount = parsed({"some/where", "/mnt", "-o", "remount,ro,relatime,user_id=0,group_id=0,default_permissions,allow_other"});
    CHECK(remount.remount);
    CHECK(remount.mount_options == "ro,relatime");
}

TEST_CASE("maps of ids") {
    CHECK(maps_of(parsed({"c1", "/mnt", "-o", "idmap=0:100000:65536"})) == "0 100000 65536\n/0 100000 65536\n");
    CHECK(maps_of(parsed({"c1", "/mnt", "-o", "idmap=0:100000:10+10:5:1,idmap=11:200000:7"})) ==
          "0 100000 10\n10 5 1\n11 200000 7\n/0 100000 10\n10 5 1\n11 200000 7\n");
    CHECK(maps_of(parsed({"c1", "/mnt", "-o", "uidmap=0:5:1,gidmap=0:7:1"})) == "0 5 1\n/0 7 1\n");
    CHECK(maps_of(parsed({"c1", "/mnt", "-o", "gidmap=0:7:1"})) == "0 7 1\n/0 7 1\n");
    CHECK(maps_of(parsed({"c1", "/mnt", "-o", "idmap=none"})) == "/");
    for (const char* bad : {"idmap=", "idmap=0:1", "idmap=0:1:0", "idmap=a:b:c", "idmap=0:5:1,uidmap=0:5:1", "idmap=none,idmap=0:1:1",
                            "idmap=0:5:10+5:100:10", "idmap=4294967295:0:1"}) {
        CAPTURE(bad);
        CHECK(!refused({"c1", "/mnt", "-o", bad}).empty());
    }
}

TEST_CASE("what cannot be meant is refused, and named") {
    CHECK(refused({}).find("needed") != std::string::npos);
    CHECK(refused({"c1"}).find("needed") != std::string::npos);
    CHECK(refused({"c1", "/mnt", "more"}).find("needed") != std::string::npos);
    CHECK(refused({"c1", "/mnt", "-o"}).find("-o") != std::string::npos);
    CHECK(refused({"c1", "/mnt", "-x"}).find("-x") != std::string::npos);
    CHECK(refused({"c1", "/mnt", "-t", "ext4"}).find("ext4") != std::string::npos);
    CHECK(refused({"c1", "/mnt", "-N", "/proc/7/ns/mnt"}).find("-N") != std::string::npos);
    CHECK(refused({"c1", "/mnt", "-o", "ro,barrier=0"}).find("barrier=0") != std::string::npos);
    for (const char* bad : {"wait=", "wait=long", "wait=-1", "wait=1.", "wait=1.2345", "wait=99999999999999999999", "store="})
        CHECK(refused({"c1", "/mnt", "-o", bad}).find(bad) != std::string::npos);
    for (const char* bad : {".hidden", "a b", "-c1", ""}) CHECK(!refused({bad, "/mnt"}).empty());
    // -s, for options that are meant for other systems.
    CHECK(parsed({"c1", "/mnt", "-s", "-o", "ro,barrier=0"}).mount_options == "ro");
}
