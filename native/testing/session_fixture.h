// A small template, an engine on it, and the kernel's end.
#pragma once

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <optional>
#include <string>
#include <vector>

#include "testing/engine_thread.h"

namespace templatefs::testing {

using Names = std::vector<std::string>;

// A small template: /etc with two files, /usr with a program under two names, links, a device.
struct SessionFixture {
    TestStore store;
    TreeBuilder tree;
    FakeKernel kernel;
    std::optional<EngineThread> engine;
    std::string objects_before;

    SessionFixture() {
        tree.folder("/etc", {.mtime_sec = 1000});
        store.add_file(tree, "/etc/motd", "welcome\n", {.mode = 0640, .uid = 3, .gid = 4, .mtime_sec = 2000, .mtime_nsec = 5});
        store.add_file(tree, "/etc/hosts", "127.0.0.1 localhost\n");
        store.add_file(tree, "/etc/empty", "");
        tree.folder("/etc/default");
        store.add_file(tree, "/etc/default/grub", "GRUB=1\n");
        tree.folder("/usr");
        tree.folder("/usr/bin");
        store.add_file(tree, "/usr/bin/prog", std::string(10'000, 'p'),
                       {.mode = 04755, .xattrs = {{"security.capability", std::string("\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20)}, {"user.note", "n"}}});
        tree.hard_link("/usr/bin/prog2", "/usr/bin/prog");
        tree.symlink("/usr/bin/link", "prog");
        tree.folder("/dev");
        tree.special("/dev/null", S_IFCHR, {.mode = 0666, .rdev = 0x103});
        tree.folder("/var");
        tree.folder("/var/empty");
        store.finish(tree);
        objects_before = store.all_objects();
        start();
    }

    void start() {
        engine.emplace(store, kernel);
        kernel.init();
    }

    // Every test ends with this.
    void finish() {
        kernel.settle();
        CHECK(kernel.fault_text() == "");
        CHECK(kernel.unanswered() == 0);
        engine->stop();
        CHECK(store.all_objects() == objects_before);
    }

    uint64_t id(std::string_view path) {
        auto found = kernel.walk(path);
        CAPTURE(path);
        REQUIRE(found.error == 0);
        return found.nodeid();
    }
    fuse_attr attr(std::string_view path) {
        auto found = kernel.walk(path);
        CAPTURE(path);
        REQUIRE(found.error == 0);
        return kernel.getattr(found.nodeid()).attr;
    }
    int error(std::string_view path) { return kernel.walk(path).error; }
    std::string text(std::string_view path) {
        auto read = kernel.read_file(path);
        CAPTURE(path);
        CHECK(read.error == 0);
        return read.text;
    }
    Names names(std::string_view path) {
        auto plus = kernel.readdir(id(path), true);
        auto plain = kernel.readdir(id(path), false);
        CHECK(plus.error == 0);
        CHECK(plain.error == 0);
        CHECK(plus.names() == plain.names());
        for (const auto& record : plus.records) {
            if (record.name == "." || record.name == "..") continue;
            CAPTURE(record.name);
            // What a listing says is what a look-up says.
            REQUIRE(record.entry.has_value());
            auto looked_up = kernel.lookup(id(path), record.name);
            CHECK(looked_up.nodeid() == record.entry->nodeid);
            CHECK(looked_up.entry.attr.ino == record.entry->attr.ino);
            CHECK(looked_up.entry.attr.mode == record.entry->attr.mode);
            CHECK(looked_up.entry.attr.nlink == record.entry->attr.nlink);
            CHECK(looked_up.entry.attr.size == record.entry->attr.size);
        }
        return plus.names();
    }
    // A second engine on the same private area sees what the first one left.
    struct Restarted {
        FakeKernel kernel;
        EngineThread engine;
        explicit Restarted(TestStore& store) : engine(store, kernel) { kernel.init(); }
    };
};

}  // namespace templatefs::testing

#define ROOT_ONLY \
    if (!templatefs::testing::is_root()) return
