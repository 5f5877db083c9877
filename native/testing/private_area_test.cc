#include "private/area.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <random>
#include <string>

#include "private/node_xattr.h"
#include "testing/temp_folder.h"
#include "testing/test_store.h"

using namespace templatefs;
using namespace templatefs::testing;

namespace {

const std::string kTree(64, 'a');

std::string settings_text(const std::string& more = "") {
    return "templatefs-container 1\nname c1\ntree " + kTree + "\n" + more;
}

}  // namespace

TEST_CASE("the container's settings") {
    auto settings = parse_settings(settings_text("shared /usr\nshared /op%74/\nfuture thing of another version\n"));
    REQUIRE(settings.ok());
    CHECK(settings.value().name == "c1");
    CHECK(settings.value().tree == kTree);
    CHECK(settings.value().shared == std::vector<std::string>{"/usr", "/opt"});
    CHECK(settings.value().ids.empty());
    CHECK(!parse_settings(settings_text()).value().shared);
    CHECK(parse_settings(settings_text("shared none\n")).value().shared == SharedPaths{});

    for (const std::string& bad :
         {std::string(), std::string("templatefs-container 1\n"), std::string("templatefs-container 2\nname c\ntree ") + kTree + "\n",
          "name c1\n" + settings_text(), std::string("templatefs-container 1\nname c1\ntree ../../etc/passwd\n"),
          std::string("templatefs-container 1\nname c1\ntree ") + kTree + "0\n", settings_text("shared usr\n"),
          settings_text("uid-map 0 1 1\n"), settings_text("uid-map 0 1\ngid-map 0 1 1\n"),
          settings_text("shared /%4\n"), settings_text("shared /%zz\n"), settings_text("nospace\n"), settings_text("cut short"),
          std::string("templatefs-container 1\nname c1\ntree ") + std::string(63, 'a') + "/\n"}) {
        CAPTURE(bad);
        CHECK(parse_settings(bad).error_code() == EUCLEAN);
    }
}

TEST_CASE("maps of ids") {
    auto settings = parse_settings(
        settings_text("uid-map 0 100000 65536\nuid-map 70000 300000 1\ngid-map 0 200000 4294767295\n"));
    REQUIRE(settings.ok());
    const IdMaps& ids = settings.value().ids;
    CHECK(id_outside(ids.uids, 0) == 100000);
    CHECK(id_outside(ids.uids, 65535) == 165535);
    CHECK(id_outside(ids.uids, 65536) == std::nullopt);
    CHECK(id_outside(ids.uids, 70000) == 300000);
    CHECK(id_outside(ids.uids, 70001) == std::nullopt);
    CHECK(id_outside(ids.gids, 4294767294) == 4294967294);
    CHECK(id_outside(IdMap{}, 7) == 7);
    CHECK(id_map_text(ids.uids) == "0 100000 65536\n70000 300000 1\n");
    CHECK(parse_id_range("0:1:2").ok());
    for (const char* bad : {"", "0", "0:1", "0:1:", "0:1:0", "0:1:2:3", "0:1:2 ", " 0:1:2", "-1:0:1", "0:4294967295:1", "4294967294:0:2",
                            "0:1:4294967295", "0,1,2", "4294967296:0:1"}) {
        CAPTURE(bad);
        CHECK(parse_id_range(bad).error_code() == EINVAL);
    }
    CHECK(check_id_maps({{{0, 100, 10}, {10, 200, 10}}, {{0, 100, 10}}}).ok());
    CHECK(check_id_maps({{{0, 100, 10}, {9, 200, 10}}, {{0, 100, 10}}}).error_code() == EINVAL);
    CHECK(check_id_maps({{{0, 100, 10}}, {{0, 100, 10}, {10, 109, 1}}}).error_code() == EINVAL);
    CHECK(check_id_maps({{{0, 100, 10}}, {}}).error_code() == EINVAL);
}

TEST_CASE("shared paths: the container's, else the template's, else the store's, else the built-in ones") {
    TempFolder store;
    ContainerSettings settings;
    settings.template_name = "t";
    std::string broken;
    CHECK(find_shared_paths(store.fd(), settings, broken).take().front() == "/usr");
    store.write("config", "templatefs-store 1\nshared /from-store\n", 0600);
    CHECK(find_shared_paths(store.fd(), settings, broken).take() == SharedPaths{"/from-store"});
    store.write("templates/t", "templatefs-template 1\nname t\n", 0600);
    CHECK(find_shared_paths(store.fd(), settings, broken).take() == SharedPaths{"/from-store"});
    store.write("templates/t", "templatefs-template 1\nname t\nshared /one\nshared /two/\n", 0600);
    CHECK(find_shared_paths(store.fd(), settings, broken).take() == SharedPaths{"/one", "/two"});
    settings.shared = SharedPaths{};
    CHECK(find_shared_paths(store.fd(), settings, broken).take().empty());
    settings.shared.reset();
    store.write("templates/t", "templatefs-template 1\nshared relative\n", 0600);
    CHECK(find_shared_paths(store.fd(), settings, broken).error_code() == EUCLEAN);
    CHECK(broken == "templates/t");
    settings.template_name = "other";
    store.write("config", "templatefs-container 1\n", 0600);
    CHECK(find_shared_paths(store.fd(), settings, broken).error_code() == EUCLEAN);
    CHECK(broken == "config");
}

TEST_CASE("values with any bytes survive being written and read") {
    std::string all;
    for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
    std::string escaped = escape_value(all);
    for (char c : escaped) REQUIRE((c >= 0x20 && c <= 0x7e));
    CHECK(unescape_value(escaped).take() == all);
    CHECK(unescape_value("a%41").take() == "aA");
    CHECK(unescape_value("%4").error_code() == EUCLEAN);
    CHECK(unescape_value("%").error_code() == EUCLEAN);
}

TEST_CASE("the node xattr survives being written and read, and nothing else is taken for one") {
    NodeInfo link;
    link.kind = NodeInfo::Kind::Link;
    link.indexed = true;
    link.origin = 17;
    link.tree_links = 3;
    link.ino = 18;
    link.object = {object_hash(5), 2, 1'000'000'000'000};
    auto bytes = encode(link);
    CHECK(bytes.size == 48);
    auto back = decode_node_info(bytes.view());
    REQUIRE(back.ok());
    CHECK(back.value().is_link());
    CHECK(back.value().indexed);
    CHECK(back.value().origin == 17);
    CHECK(back.value().tree_links == 3);
    CHECK(back.value().ino == 18);
    CHECK(back.value().object.hash == object_hash(5));
    CHECK(back.value().object.variant == 2);
    CHECK(back.value().object.size == 1'000'000'000'000);

    NodeInfo own;
    own.ino = kFirstPrivateIno;
    auto short_bytes = encode(own);
    CHECK(short_bytes.size == 24);
    CHECK(decode_node_info(short_bytes.view()).value().origin == kNoOrigin);

    for (size_t size = 0; size <= 48; ++size) {
        if (size == 48) continue;
        CAPTURE(size);
        CHECK(decode_node_info(bytes.view().first(size)).error_code() == EUCLEAN);
    }
    auto broken = [&](size_t at, uint8_t value) {
        auto copy = bytes;
        copy.bytes[at] = std::byte{value};
        return decode_node_info(copy.view()).error_code();
    };
    CHECK(broken(0, 2) == EUCLEAN);   // version
    CHECK(broken(1, 0) == EUCLEAN);   // an own file of a link's length
    CHECK(broken(1, 2) == 0);         // a partial file has the same fields
    CHECK(broken(1, 3) == EUCLEAN);   // kind
    CHECK(broken(2, 0xff) == EUCLEAN);  // flags
    CHECK(broken(3, 1) == EUCLEAN);
    CHECK(broken(19, 0xff) == EUCLEAN);  // origin beyond any tree

    // What is accepted is exactly what would be written.
    std::mt19937 random(3);
    for (int i = 0; i < 20'000; ++i) {
        auto copy = i % 2 == 0 ? bytes : short_bytes;
        copy.bytes[random() % copy.size] = static_cast<std::byte>(random());
        auto decoded = decode_node_info(copy.view());
        if (!decoded.ok()) continue;
        auto again = encode(decoded.value());
        REQUIRE(again.size == copy.size);
        REQUIRE(std::equal(again.bytes.begin(), again.bytes.begin() + static_cast<ptrdiff_t>(again.size), copy.bytes.begin()));
    }
}

TEST_CASE("where an object lies") {
    ObjectRef object{object_hash(0x12345678), 0, 1};
    CHECK(std::string(object_path(object).text) == "12/3456780000000000000000000000aa");
    object.variant = UINT32_MAX;
    CHECK(std::string(object_path(object).text) == "12/3456780000000000000000000000aa.4294967295");
}

TEST_CASE("inode numbers are given out once, also after a crash of the machine") {
    TempFolder folder;
    folder.write("private/c1/container", settings_text());
    auto area = PrivateArea::open(folder.fd(), "c1").take();
    CHECK(PrivateArea::open(folder.fd(), "none").error_code() == ENOENT);
    auto range = area.load_inos().take();
    CHECK(range.next == kFirstPrivateIno);
    CHECK(range.reserved == kFirstPrivateIno);
    REQUIRE(area.store_inos({kFirstPrivateIno + 5, kFirstPrivateIno + 65536}, true).ok());
    CHECK(area.load_inos().take().next == kFirstPrivateIno + 5);
    // Another boot: the numbers up to the reservation may have been given out.
    folder.write("private/c1/inos", std::to_string(kFirstPrivateIno + 5) + " " + std::to_string(kFirstPrivateIno + 65536) +
                                        " 00000000-0000-0000-0000-000000000000\n");
    CHECK(area.load_inos().take().next == kFirstPrivateIno + 65536);
    for (const char* bad : {"", "x", "1 2 boot\n", "268435460 268435456 boot\n", "268435460\n"}) {
        CAPTURE(bad);
        folder.write("private/c1/inos", std::string(bad));
        CHECK(area.load_inos().error_code() == EUCLEAN);
    }
}

TEST_CASE("inode numbers that need not be durable are overwritten: a rename could leave an empty file after a power loss") {
    TempFolder folder;
    folder.write("private/c1/container", settings_text());
    auto area = PrivateArea::open(folder.fd(), "c1").take();
    REQUIRE(area.store_inos({kFirstPrivateIno, kFirstPrivateIno + 65536}, true).ok());
    const Place inos{area.base(), "inos"};
    const HostStat before = host_stat(inos).take();
    REQUIRE(area.store_inos({kFirstPrivateIno + 12345, UINT64_MAX}, false).ok());
    const HostStat after = host_stat(inos).take();
    CHECK(after.stx_ino == before.stx_ino);
    CHECK(after.stx_size == before.stx_size);
    CHECK(area.load_inos().take().next == kFirstPrivateIno + 12345);
    CHECK(area.load_inos().take().reserved == UINT64_MAX);
}

TEST_CASE("one engine at a time holds the lock") {
    TempFolder folder;
    folder.write("private/c1/container", settings_text());
    auto area = PrivateArea::open(folder.fd(), "c1").take();
    auto other = PrivateArea::open(folder.fd(), "c1").take();
    {
        UniqueFd held = area.lock().take();
        CHECK(other.lock().error_code() == EWOULDBLOCK);
    }
    CHECK(other.lock().ok());
}

TEST_CASE("removing what is in staging follows no symlink") {
    TempFolder folder;
    folder.write("private/c1/container", settings_text());
    folder.write("outside/precious", std::string("x"));
    folder.write("private/c1/staging/a/b/c/file", std::string("x"));
    REQUIRE(::symlink(folder.at("outside").c_str(), folder.at("private/c1/staging/link").c_str()) == 0);
    REQUIRE(::symlink(folder.at("outside").c_str(), folder.at("private/c1/staging/a/link").c_str()) == 0);
    auto area = PrivateArea::open(folder.fd(), "c1").take();
    REQUIRE(area.clear_staging().ok());
    CHECK_FALSE(folder.exists("private/c1/staging/a"));
    CHECK_FALSE(folder.exists("private/c1/staging/link"));
    CHECK(folder.exists("private/c1/staging"));
    CHECK(folder.exists("outside/precious"));
}

TEST_CASE("xattrs of symlinks, devices and folders are those of the entry itself") {
    if (!is_root()) return;
    TempFolder folder;
    folder.write("file", std::string("x"));
    REQUIRE(::symlinkat("file", folder.fd(), "link") == 0);
    REQUIRE(make_whiteout({folder.fd(), "white"}).ok());
    REQUIRE(::mkdirat(folder.fd(), "dir", 0700) == 0);
    NodeInfo info;
    info.ino = kFirstPrivateIno;
    for (const char* name : {"file", "link", "white", "dir"}) {
        CAPTURE(name);
        Place place{folder.fd(), name};
        info.ino += 1;
        CHECK_FALSE(read_node_info(place).take().has_value());
        REQUIRE(write_node_info(place, info).ok());
        CHECK(read_node_info(place).take()->ino == info.ino);
        char list[256];
        size_t size = host_listxattr(place, list).take();
        CHECK(std::string(list, size).find("trusted.templatefs.node") != std::string::npos);
        REQUIRE(host_removexattr(place, kNodeXattr).ok());
        CHECK_FALSE(read_node_info(place).take().has_value());
    }
    CHECK(is_whiteout_device(host_stat({folder.fd(), "white"}).take()));
    CHECK(read_node_info({folder.fd(), "none"}).error_code() == ENOENT);
}
