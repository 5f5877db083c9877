// What the control plane sees of merging: the verb, and the mark that says whether a look is worth it.

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "control/merge_verb.h"
#include "testing/merge_fixture.h"

using namespace templatefs;
using namespace templatefs::testing;

TEST_CASE("the mark says whether content may have changed") {
    ROOT_ONLY;
    MergeFixture f;
    f.create("/var", "copy", kOne);
    const std::string file = f.store.folder().at(f.store.in_area("changes"));
    const auto is_written_down = [&] { return ::access(file.c_str(), F_OK) == 0; };
    std::string mark = f.root().change_mark();
    CHECK(mark.size() > 17);
    // Looking, metadata, names, merging.
    CHECK(f.text("/var/copy") == kOne);
    REQUIRE(f.kernel().chmod(f.id("/var/copy"), 0600).error == 0);
    REQUIRE(f.kernel().rename(f.id("/var"), "copy", f.id("/var"), "moved") == 0);
    REQUIRE(f.merge("/var/moved", kOne).kind == MergeAnswer::Kind::Merged);
    CHECK(f.root().change_mark() == mark);
    const auto changes = [&](const char* way) {
        CAPTURE(way);
        const std::string now = f.root().change_mark();
        CHECK(now != mark);
        CHECK(now.substr(0, 16) == mark.substr(0, 16));
        mark = now;
    };
    f.create("/var", "new", kTwo);
    changes("create");
    REQUIRE(f.kernel().write_file("/var/moved", "x") == 0);
    changes("write");
    REQUIRE(f.kernel().truncate(f.id("/var/new"), 5).error == 0);
    changes("truncate");
    REQUIRE(f.kernel().write_file("/usr/lib/one", "", 0, O_WRONLY | O_TRUNC) == 0);
    changes("truncate by open");
    auto writer = f.kernel().open(f.id("/var/new"), O_WRONLY);
    changes("open for writing");
    CHECK(f.kernel().release(f.id("/var/new"), writer.fh, O_WRONLY) == 0);
    changes("close");
    CHECK_FALSE(is_written_down());
    f.restart();
    CHECK(is_written_down());
    CHECK(f.root().change_mark() == mark);
    CHECK(f.text("/var/moved").size() == kOne.size());
    f.restart();
    CHECK(f.root().change_mark() == mark);
    // Before anything changes it is gone: a crash leaves nothing that is not true.
    REQUIRE(f.kernel().write_file("/var/moved", "y") == 0);
    CHECK_FALSE(is_written_down());
    f.check_protocol();
    f.engine->kill();
    f.engine.reset();
    f.start();
    CHECK(f.root().change_mark().substr(0, 16) != mark.substr(0, 16));
    for (const char* broken : {"", "templatefs-changes 1\n", "templatefs-changes 2\nmark 0123456789abcdef-1\n", "templatefs-changes 1\nmark 0000000000000000-1\n",
                               "templatefs-changes 1\nmark 0123456789abcdef-1"}) {
        CAPTURE(broken);
        f.engine->kill();
        f.engine.reset();
        f.store.folder().write(f.store.in_area("changes"), std::string(broken));
        f.start();
        CHECK(f.root().change_mark().substr(0, 16) != "0123456789abcdef");
        CHECK(f.root().change_mark().substr(0, 16) != "0000000000000000");
    }
    f.check_protocol();
    f.engine->stop();
}

TEST_CASE("the verb answers for each entry, and does nothing for a request that is wrong") {
    ROOT_ONLY;
    MergeFixture f;
    f.create("/var", "a file", kOne);
    f.create("/var", "two", kTwo);
    const auto entry = [&](std::string_view path, const std::string& object) {
        const fuse_attr now = f.attr(path);
        return std::to_string(now.ino) + " " + std::to_string(now.size) + " " + std::to_string(now.mtime) + "." + std::to_string(now.mtimensec) + " " +
               object + " " + std::string(path);
    };
    const std::string one = entry("/var/a file", hex(f.store.object(kOne).hash));
    const std::string two = entry("/var/two", hex(f.store.object(kOne).hash));
    const auto ask = [&](std::vector<std::string_view> fields) {
        const std::string frame = answer_merge(f.root(), fields);
        std::string text = frame.substr(4);
        for (char& c : text)
            if (c == 0) c = '|';
        return text;
    };
    for (const std::string& bad : {std::string(), one.substr(1, 5), "x" + one, one.substr(0, one.find('/')), std::string("budget=x")}) {
        CAPTURE(bad);
        CHECK(ask({one, bad}).starts_with("error|USAGE|"));
    }
    CHECK(ask({"budget=9999999", one}).starts_with("error|USAGE|"));
    CHECK_FALSE(f.is_link("/var/a file"));
    CHECK(ask({"budget=1000000", one, two}) == "ok|0=merged " + std::to_string(f.host_stat_of("/var/two").st_blocks * 512) + "|1=skipped different|");
    // At least one, however little time there is.
    CHECK(ask({"budget=0", two, one}) == "ok|0=skipped different|");
    CHECK(ask({}) == "ok|");
    f.finish();
}

TEST_CASE("a request goes on past its time while nothing waits, and leaves no folder behind") {
    ROOT_ONLY;
    MergeFixture f;
    REQUIRE(f.kernel().mkdir(f.id("/var"), "deep").error == 0);
    REQUIRE(f.kernel().mkdir(f.id("/var/deep"), "er").error == 0);
    std::vector<std::string> entries;
    for (const char* name : {"a", "b", "c", "d"}) {
        f.create("/var/deep/er", name, kOne);
        const fuse_attr now = f.attr(std::string("/var/deep/er/") + name);
        entries.push_back(std::to_string(now.ino) + " " + std::to_string(now.size) + " " + std::to_string(now.mtime) + "." +
                          std::to_string(now.mtimensec) + " " + hex(f.store.object(kOne).hash) + " /var/deep/er/" + name);
    }
    // Nobody knows the folders of the container, or the files.
    f.restart();
    (void)f.id("/var");
    const auto nodes = [&] { return f.engine->header().live_nodes; };
    const uint32_t before = nodes();
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const UniqueFd reader(ends[0]), writer(ends[1]);
    const auto merged = [&](std::vector<std::string_view> fields, int waiting) {
        fields.insert(fields.begin(), "budget=0");
        const std::string frame = answer_merge(f.root(), fields, waiting);
        size_t count = 0;
        for (size_t at = frame.find("=merged "); at != std::string::npos; at = frame.find("=merged ", at + 1)) count++;
        return count;
    };
    CHECK(merged({entries[0], entries[1]}, reader.get()) == 2);
    CHECK(nodes() == before);
    REQUIRE(::write(writer.get(), "x", 1) == 1);
    CHECK(merged({entries[2], entries[3]}, reader.get()) == 1);
    CHECK(merged({entries[3], entries[2]}, -1) == 1);
    CHECK(nodes() == before);
    for (const char* name : {"a", "b", "c", "d"}) {
        CHECK(f.is_link(std::string("/var/deep/er/") + name));
        CHECK(f.text(std::string("/var/deep/er/") + name) == kOne);
    }
    f.finish();
}
