#include "mount/mount_table.h"

#include <doctest/doctest.h>

using namespace templatefs;

namespace {

constexpr std::string_view kTable =
    "26 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
    "40 26 0:50 / /mnt/a\\040b\\134c rw - fuse.templatefs c1 rw\n"
    "41 26 0:51 / /x rw shared:3 master:1 - fuse.templatefs c2 rw\n"
    "nonsense\n"
    "42 26 0:52 / /x rw - tmpfs none rw\n"
    "43 26 0:50 / /second rw - fuse.templatefs c1 rw";

}  // namespace

TEST_CASE("the mount table is read with its escapes, and whatever stands in the optional fields") {
    auto found = mount_on_top(kTable, "/mnt/a b\\c");
    REQUIRE(found);
    CHECK(found->minor == 50);
    CHECK(found->type == kRootType);
    CHECK(mount_on_top(kTable, "/")->type == "ext4");
    CHECK(!mount_on_top(kTable, "/mnt"));
}

TEST_CASE("of several mounts at one place the last is on top; a root is found by its device") {
    CHECK(mount_on_top(kTable, "/x")->type == "tmpfs");
    CHECK(root_with_device(kTable, 51)->mountpoint == "/x");
    CHECK(root_with_device(kTable, 50)->mountpoint == "/mnt/a b\\c");
    CHECK(!root_with_device(kTable, 52));
    CHECK(!root_with_device("", 50));
}

TEST_CASE("a folder is no mount, / is one") {
    CHECK(is_mount_root("/"));
    CHECK(!is_mount_root("/etc"));
    CHECK(!is_mount_root("/nonexistent"));
    CHECK(!is_mount_root_of("/", 4'000'000'000U));
}
