// What the engine tells of what was asked of a root.

#include <doctest/doctest.h>
#include <fcntl.h>

#include <set>
#include <string>

#include "testing/session_fixture.h"

using namespace templatefs;
using namespace templatefs::testing;

namespace {

// Ends the trace and reads it, as the control plane does.
std::set<std::string> records(SessionFixture& f) {
    auto whole = f.engine->root().end_trace();
    REQUIRE(whole.ok());
    REQUIRE(whole.value());
    const std::string text = f.store.folder().read(f.store.in_area("trace"));
    std::set<std::string> found;
    for (size_t at = 0; at < text.size(); at = text.find('\0', at) + 1) found.insert(text.c_str() + at);
    return found;
}

}  // namespace

TEST_CASE("a trace has the names that were looked up and the folders that were listed, and no others") {
    ROOT_ONLY;
    SessionFixture f;
    f.engine->root().begin_trace();
    CHECK(f.error("/etc/motd") == 0);
    CHECK(f.error("/etc/none") == ENOENT);
    // Names alone: nothing is kept of what they lead to, without a look-up of each.
    for (const auto& entry : f.kernel.readdir(f.id("/usr/bin"), true).records) CHECK_FALSE(entry.entry.has_value());
    auto made = f.kernel.mkdir(f.id("/var"), "lib");
    REQUIRE(made.error == 0);
    REQUIRE(f.kernel.mkdir(made.nodeid(), "old").error == 0);
    CHECK(f.error("/var/lib/old/before") == ENOENT);
    REQUIRE(f.kernel.rename(made.nodeid(), "old", made.nodeid(), "new") == 0);
    CHECK(f.error("/var/lib/new/after") == ENOENT);
    // A folder of the template that has moved, and what is still the template's in it.
    REQUIRE(f.kernel.rename(f.id("/etc"), "default", f.id("/var"), "moved") == 0);
    CHECK(f.error("/var/moved/grub") == 0);
    auto found = records(f);
    for (const char* record : {"a/etc", "a/etc/motd", "a/etc/none", "a/usr/bin", "l/usr/bin", "a/var/lib", "a/var/lib/old/before", "a/var/lib/new/after", "a/var/moved/grub"}) {
        CAPTURE(record);
        CHECK(found.count(record) == 1);
    }
    for (const char* record : {"a/etc/hosts", "l/etc", "l/", "a/dev", "a/usr/bin/prog", "a/var/lib/new/before", "a/etc/default/grub"}) {
        CAPTURE(record);
        CHECK(found.count(record) == 0);
    }
    // Over, and so not known.
    CHECK_FALSE(f.engine->root().end_trace().value());
    f.finish();
}

TEST_CASE("a trace ends with its worker, and what it has left goes with the next mount") {
    ROOT_ONLY;
    SessionFixture f;
    f.engine->root().begin_trace();
    CHECK(f.error("/etc/motd") == 0);
    CHECK(records(f).count("a/etc/motd") == 1);
    f.finish();
    FakeKernel kernel;
    EngineThread next(f.store, kernel);
    kernel.init();
    CHECK_FALSE(next.root().end_trace().value());
    CHECK_FALSE(f.store.folder().exists(f.store.in_area("trace")));
}
