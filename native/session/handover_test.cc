#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "inode/shared_state.h"
#include "session/engine_parts_text.h"
#include "session/upgrade_request.h"

using namespace templatefs;

namespace {

UniqueFd some_file() { return UniqueFd(::open("/dev/null", O_RDWR | O_CLOEXEC)); }

std::vector<UniqueFd*> descriptors_in(EngineParts& parts) {
    return {&parts.area_lock, &parts.area, &parts.objects, &parts.tree, &parts.outside, &parts.proc, &parts.device, &parts.state,
            &parts.control, &parts.asks, &parts.run, &parts.answers};
}

EngineParts some_parts() {
    EngineParts parts;
    for (UniqueFd* fd : descriptors_in(parts))
        *fd = some_file();
    parts.store_path = "/var/lib/a store\nwith a line";
    parts.container = "c1";
    parts.mountpoint = "/mnt/100%";
    parts.shared = {"/usr", "/opt/odd \xff name"};
    parts.ids.uids = {{0, 100000, 65536}};
    parts.ids.gids = {{0, 200000, 1000}, {1000, 5, 1}};
    parts.session.passthrough = false;
    parts.session.max_stack_depth = 2;
    parts.whole_copy_limit = 12345;
    parts.max_nodes = 678;
    parts.foreground = true;
    return parts;
}

// Leaves the descriptors to whoever parses the text.
void let_go(EngineParts& parts) {
    for (UniqueFd* fd : descriptors_in(parts))
        (void)fd->release();
}

std::string without_line(std::string text, const std::string& start) {
    const size_t at = text.find("\n" + start);
    REQUIRE(at != std::string::npos);
    return text.erase(at + 1, text.find('\n', at + 1) - at);
}

}  // namespace

TEST_CASE("what a holder tells another is read as it was meant") {
    EngineParts parts = some_parts();
    const int control = parts.control.get();
    const std::string text = describe_parts(parts) + "request an id\n";
    CHECK(descriptors_of(parts).size() == 12);
    EngineParts read;
    REQUIRE(parse_parts(text, read).ok());
    let_go(parts);
    CHECK(read.control.get() == control);
    CHECK(read.store_path == parts.store_path);
    CHECK(read.container == "c1");
    CHECK(read.mountpoint == parts.mountpoint);
    CHECK(read.shared == parts.shared);
    REQUIRE(read.ids.gids.size() == 2);
    CHECK(read.ids.uids[0].outside == 100000);
    CHECK(read.ids.gids[1].inside == 1000);
    CHECK_FALSE(read.session.passthrough);
    CHECK(read.session.max_stack_depth == 2);
    CHECK(read.whole_copy_limit == 12345);
    CHECK(read.max_nodes == 678);
    CHECK(read.foreground);
    CHECK(read.takeover.request == "an id");
    CHECK(describe_parts(read) + "request an id\n" == text);
    // Whatever is started from here must not get them.
    CHECK((::fcntl(control, F_GETFD) & FD_CLOEXEC) != 0);
}

TEST_CASE("parts that lack something, or hold what is not known, are refused") {
    EngineParts parts = some_parts();
    const std::string text = describe_parts(parts);
    let_go(parts);
    std::string refused;
    SUBCASE("a missing descriptor") { refused = without_line(text, "descriptor device"); }
    SUBCASE("a missing text") { refused = without_line(text, "mountpoint"); }
    SUBCASE("a descriptor twice") { refused = text + "descriptor device " + std::to_string(::open("/dev/null", O_RDONLY)) + "\n"; }
    SUBCASE("an unknown line") { refused = text + "colour blue\n"; }
    SUBCASE("an unknown descriptor") { refused = text + "descriptor other 5\n"; }
    SUBCASE("a standard stream") { refused = without_line(text, "descriptor control") + "descriptor control 2\n"; }
    SUBCASE("a descriptor that is not open") { refused = without_line(text, "descriptor control") + "descriptor control 9999\n"; }
    SUBCASE("no number") { refused = text + "stack-depth two\n"; }
    SUBCASE("neither yes nor no") { refused = text + "passthrough maybe\n"; }
    SUBCASE("an id map without the other") { refused = without_line(text, "uid-map"); }
    SUBCASE("a broken escape") { refused = text + "shared /a%2\n"; }
    SUBCASE("cut short") { refused = text.substr(0, text.size() - 1); }
    SUBCASE("nothing") { refused = ""; }
    EngineParts read;
    CHECK_FALSE(parse_parts(refused, read).ok());
}

TEST_CASE("a request for an upgrade names itself and an absolute path") {
    auto request = parse_upgrade_request("request 1-2-3\nengine /opt/an%20engine\n");
    REQUIRE(request.ok());
    CHECK(request.value().id == "1-2-3");
    CHECK(request.value().engine == "/opt/an engine");
    for (const char* text : {"", "request 1\n", "engine /x\n", "request 1\nengine x\n", "request 1\nengine /x", "request 1\nengine /x\nmore 1\n",
                             "request\nengine /x\n", "request 1\nengine /%zz\n"})
        CHECK_FALSE(parse_upgrade_request(text).ok());
}

TEST_CASE("only a state of this form is taken over, and looking at it changes nothing") {
    UniqueFd state = SharedState::create().take();
    CHECK(SharedState::check(state.get()).ok());
    const uint32_t other = kStateVersion + 1;
    REQUIRE(::pwrite(state.get(), &other, sizeof other, offsetof(StateHeader, version)) == sizeof other);
    CHECK(SharedState::check(state.get()).error_code() == EUCLEAN);
    CHECK(SharedState::attach(state.get()).error_code() == EUCLEAN);
    UniqueFd empty(::memfd_create("empty", MFD_CLOEXEC));
    CHECK(SharedState::check(empty.get()).error_code() == EUCLEAN);
}
