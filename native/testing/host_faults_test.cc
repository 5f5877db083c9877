// Every call with which an operation asks the host fails once, each in turn: out of space, read-only, broken. Then the operation
// fails with that error, everything is as it was before, and it succeeds as soon as the host works again. Or it succeeds at once,
// with all that it had to do done.
//
// TEMPLATEFS_HOST_FAULTS_STEP=NAME runs only the steps with NAME in theirs. TEMPLATEFS_HOST_FAULTS=all tries each errno, once and lasting, at each call; without it they take turns.

// ThreadSanitizer has nothing to see here: one request at a time.
#ifndef __SANITIZE_THREAD__

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <string>

#include "testing/engine_thread.h"
#include "testing/host_faults.h"

using namespace templatefs;
using namespace templatefs::testing;

namespace {

// struct posix_acl_xattr: u::rwx, g::r-x, o::r-x
const std::string kAcl("\2\0\0\0\1\0\7\0\377\377\377\377\4\0\5\0\377\377\377\377\40\0\5\0\377\377\377\377", 28);
const std::string kLong(2'100'000, 'L');

// A path that cannot be looked up, because a call of that failed.
struct LookUpFailed {
    int error;
};

struct Fixture {
    TestStore store;
    TreeBuilder tree;
    FakeKernel kernel;
    std::optional<EngineThread> engine;
    std::string objects_before;

    explicit Fixture(bool with_large = false) {
        tree.folder("/etc", {.mtime_sec = 1000});
        store.add_file(tree, "/etc/motd", "welcome\n", {.mode = 0640, .uid = 3, .gid = 4, .mtime_sec = 2000, .mtime_nsec = 5, .xattrs = {{"user.note", "n"}}});
        store.add_file(tree, "/etc/hosts", "127.0.0.1 localhost\n");
        store.add_file(tree, "/etc/empty", "");
        tree.folder("/etc/default");
        store.add_file(tree, "/etc/default/grub", "GRUB=1\n");
        tree.folder("/usr");
        tree.folder("/usr/bin");
        store.add_file(tree, "/usr/bin/prog", std::string(10'000, 'p'),
                       {.mode = 0755, .xattrs = {{"security.capability", std::string("\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20)}}});
        store.add_file(tree, "/usr/bin/one", std::string(9'000, '1'));
        tree.hard_link("/usr/bin/two", "/usr/bin/one");
        tree.symlink("/usr/bin/link", "prog");
        tree.folder("/var");
        tree.folder("/var/empty");
        if (with_large) store.add_file(tree, "/var/large", kLong);
        store.finish(tree);
        objects_before = store.all_objects();
        engine.emplace(store, kernel);
        kernel.init();
    }

    uint64_t id(std::string_view path) {
        auto found = kernel.walk(path);
        if (found.error != 0) throw LookUpFailed{found.error};
        return found.nodeid();
    }
    void must(int error) { REQUIRE(error == 0); }
};

// What a container sees of a file: everything but times of folders (a folder that a step failed in may show that) and ctime.
void look_at(FakeKernel& kernel, const std::string& path, const fuse_attr& attr, bool with_ino, std::map<std::string, std::string>& seen) {
    std::string text = std::to_string(attr.mode) + " " + std::to_string(attr.uid) + ":" + std::to_string(attr.gid) + " links " +
                       std::to_string(attr.nlink) + " rdev " + std::to_string(attr.rdev);
    const uint64_t id = kernel.walk(path).nodeid();
    if (with_ino) text += " ino " + std::to_string(attr.ino);
    if (S_ISREG(attr.mode)) {
        auto content = kernel.read_file(path);
        text += " size " + std::to_string(attr.size) + " " + std::to_string(content.error) + " ";
        text += content.text.size() > 100 ? std::to_string(std::hash<std::string>()(content.text)) + " of " + std::to_string(content.text.size()) : content.text;
    }
    // Of what the operations change, mtime is as good as any clock; but what failed must not have moved it.
    if (!S_ISDIR(attr.mode) && with_ino) text += " mtime " + std::to_string(attr.mtime) + "." + std::to_string(attr.mtimensec);
    if (S_ISLNK(attr.mode)) text += " -> " + kernel.readlink(id).text;
    auto list = kernel.listxattr(id);
    for (size_t at = 0; at < list.text.size();) {
        std::string name = list.text.c_str() + at;
        at += name.size() + 1;
        text += " " + name + "=" + std::to_string(std::hash<std::string>()(kernel.getxattr(id, name).text));
    }
    seen[path] = text;
    if (!S_ISDIR(attr.mode)) return;
    auto listing = kernel.readdir(id, true);
    if (listing.error != 0) seen[path] += " listing " + std::to_string(listing.error);
    for (const auto& record : listing.records) {
        if (record.name == "." || record.name == "..") continue;
        const std::string below = (path == "/" ? "" : path) + "/" + record.name;
        auto found = kernel.walk(below);
        if (found.error != 0) seen[below] = "error " + std::to_string(found.error);
        else look_at(kernel, below, kernel.getattr(found.nodeid()).attr, with_ino, seen);
    }
}

std::string look(FakeKernel& kernel, bool with_ino) {
    std::map<std::string, std::string> seen;
    look_at(kernel, "/", kernel.getattr(1).attr, with_ino, seen);
    std::string all;
    for (const auto& [path, text] : seen) all += path + ": " + text + "\n";
    return all;
}

bool is_empty(const std::string& folder) {
    std::error_code ignored;
    return std::filesystem::is_empty(folder, ignored);
}

struct Step {
    const char* name;
    std::function<void(Fixture&)> prepare;
    std::function<int(Fixture&)> act;
    bool with_large = false;
};

int made(const EntryAnswer& answer) { return answer.error; }
int made(const AttrAnswer& answer) { return answer.error; }

// Creates, and closes again.
int create(Fixture& f, const char* folder, const char* name) {
    const uint64_t parent = f.id(folder);
    auto created = f.kernel.create(parent, name);
    if (created.error != 0) return created.error;
    return f.kernel.release(created.nodeid(), created.open.fh, O_RDWR);
}

// Opens, lets `use` do something with it, closes; the first error.
int with_open(Fixture& f, const char* path, uint32_t flags, const std::function<int(uint64_t id, uint64_t fh)>& use) {
    const uint64_t id = f.id(path);
    auto opened = f.kernel.open(id, flags);
    if (opened.error != 0) return opened.error;
    const int error = use(id, opened.fh);
    (void)f.kernel.release(id, opened.fh, flags);
    return error;
}

int write_at(Fixture& f, const char* path, uint64_t offset, const std::string& data) {
    return with_open(f, path, O_WRONLY, [&](uint64_t id, uint64_t fh) {
        auto written = f.kernel.write(id, fh, offset, data);
        return written.error != 0 ? written.error : written.size == data.size() ? 0 : ENOSPC;
    });
}

void nothing(Fixture&) {}

// The parts of the large file that are its own: 64 KiB at 100,000 and at 1,500,000.
void make_partial(Fixture& f) {
    f.must(write_at(f, "/var/large", 100'000, std::string(65'536, 'x')));
    f.must(write_at(f, "/var/large", 1'500'000, std::string(65'536, 'y')));
}

// A file of the container's own becomes a link to what the template has.
int merge(Fixture& f, const char* path, const std::string& content) {
    const fuse_attr attr = f.kernel.getattr(f.id(path)).attr;
    MergeRequest request;
    request.ino = attr.ino;
    request.size = attr.size;
    request.mtime = {static_cast<time_t>(attr.mtime), static_cast<long>(attr.mtimensec)};
    request.object = f.store.object(content);
    request.path = path;
    const MergeAnswer answer = f.engine->root().merge(request, MergeBudget(1'000'000'000));
    if (answer.kind == MergeAnswer::Kind::Failed) return answer.error;
    return answer.kind == MergeAnswer::Kind::Merged || answer.kind == MergeAnswer::Kind::Kept ? 0 : EPROTO;
}

const std::vector<Step>& steps() {
    static const std::vector<Step> all = {
        {"create in a folder of the template", nothing, [](Fixture& f) { return create(f, "/etc", "new"); }},
        {"create beside", [](Fixture& f) { f.must(create(f, "/etc", "old")); }, [](Fixture& f) { return create(f, "/etc", "new"); }},
        {"create over a whiteout", [](Fixture& f) { f.must(f.kernel.unlink(f.id("/etc"), "motd")); }, [](Fixture& f) { return create(f, "/etc", "motd"); }},
        {"create in a folder with a default ACL", [](Fixture& f) { f.must(f.kernel.setxattr(f.id("/var"), "system.posix_acl_default", kAcl)); },
         [](Fixture& f) { return create(f, "/var", "new"); }},
        {"create over a whiteout in a folder with a default ACL",
         [](Fixture& f) {
             f.must(f.kernel.setxattr(f.id("/etc"), "system.posix_acl_default", kAcl));
             f.must(f.kernel.unlink(f.id("/etc"), "motd"));
         },
         [](Fixture& f) { return create(f, "/etc", "motd"); }},
        {"mkdir", nothing, [](Fixture& f) { return made(f.kernel.mkdir(f.id("/etc"), "new")); }},
        {"mkdir over a whiteout", [](Fixture& f) { f.must(f.kernel.unlink(f.id("/etc"), "motd")); }, [](Fixture& f) { return made(f.kernel.mkdir(f.id("/etc"), "motd")); }},
        {"symlink", nothing, [](Fixture& f) { return made(f.kernel.symlink(f.id("/etc"), "new", std::string(200, 't'))); }},
        {"mknod", nothing, [](Fixture& f) { return made(f.kernel.mknod(f.id("/etc"), "new", S_IFIFO | 0600)); }},
        {"tmpfile", nothing,
         [](Fixture& f) {
             auto created = f.kernel.tmpfile(f.id("/etc"));
             return created.error != 0 ? created.error : f.kernel.release(created.nodeid(), created.open.fh, O_RDWR);
         }},
        {"a tmpfile gets a name", nothing,
         [](Fixture& f) {
             auto created = f.kernel.tmpfile(f.id("/etc"));
             if (created.error != 0) return created.error;
             const int error = made(f.kernel.link(created.nodeid(), f.id("/etc"), "named"));
             (void)f.kernel.release(created.nodeid(), created.open.fh, O_RDWR);
             return error;
         }},
        {"unlink a file of the template", nothing, [](Fixture& f) { return f.kernel.unlink(f.id("/etc"), "motd"); }},
        {"unlink a changed file of the template", [](Fixture& f) { f.must(write_at(f, "/etc/motd", 0, "W")); }, [](Fixture& f) { return f.kernel.unlink(f.id("/etc"), "motd"); }},
        {"unlink a new file", [](Fixture& f) { f.must(create(f, "/etc", "new")); }, [](Fixture& f) { return f.kernel.unlink(f.id("/etc"), "new"); }},
        {"unlink an open file", [](Fixture& f) { f.must(create(f, "/etc", "new")); },
         [](Fixture& f) { return with_open(f, "/etc/new", O_RDWR, [&](uint64_t, uint64_t) { return f.kernel.unlink(f.id("/etc"), "new"); }); }},
        {"unlink one of two names of the template", nothing, [](Fixture& f) { return f.kernel.unlink(f.id("/usr/bin"), "two"); }},
        {"rmdir of the template", nothing, [](Fixture& f) { return f.kernel.rmdir(f.id("/var"), "empty"); }},
        {"rmdir", [](Fixture& f) { f.must(made(f.kernel.mkdir(f.id("/var"), "new"))); }, [](Fixture& f) { return f.kernel.rmdir(f.id("/var"), "new"); }},
        {"rmdir of an emptied folder", [](Fixture& f) { f.must(f.kernel.unlink(f.id("/etc/default"), "grub")); }, [](Fixture& f) { return f.kernel.rmdir(f.id("/etc"), "default"); }},
        {"rmdir of a renamed, emptied folder",
         [](Fixture& f) {
             f.must(f.kernel.unlink(f.id("/etc/default"), "grub"));
             f.must(f.kernel.rename(f.id("/etc"), "default", f.id("/var"), "moved"));
         },
         [](Fixture& f) { return f.kernel.rmdir(f.id("/var"), "moved"); }},
        {"link", nothing, [](Fixture& f) { return made(f.kernel.link(f.id("/etc/motd"), f.id("/var"), "linked")); }},
        {"link over a whiteout", [](Fixture& f) { f.must(f.kernel.unlink(f.id("/etc"), "motd")); },
         [](Fixture& f) { return made(f.kernel.link(f.id("/etc/hosts"), f.id("/etc"), "motd")); }},
        {"rename a file of the template", nothing, [](Fixture& f) { return f.kernel.rename(f.id("/etc"), "motd", f.id("/var"), "moved"); }},
        {"rename one of two names", nothing, [](Fixture& f) { return f.kernel.rename(f.id("/usr/bin"), "two", f.id("/var"), "moved"); }},
        {"rename over a file of the template", [](Fixture& f) { f.must(create(f, "/etc", "new")); },
         [](Fixture& f) { return f.kernel.rename(f.id("/etc"), "new", f.id("/etc"), "motd"); }},
        {"rename a file of the template over another", nothing, [](Fixture& f) { return f.kernel.rename(f.id("/etc"), "motd", f.id("/etc"), "hosts"); }},
        {"rename a folder of the template", nothing, [](Fixture& f) { return f.kernel.rename(f.id("/etc"), "default", f.id("/var"), "moved"); }},
        {"rename a folder to a whiteout",
         [](Fixture& f) {
             f.must(f.kernel.unlink(f.id("/etc"), "motd"));
             f.must(made(f.kernel.mkdir(f.id("/var"), "new")));
         },
         [](Fixture& f) { return f.kernel.rename(f.id("/var"), "new", f.id("/etc"), "motd"); }},
        {"rename a folder over an emptied one",
         [](Fixture& f) {
             f.must(f.kernel.unlink(f.id("/etc/default"), "grub"));
             f.must(made(f.kernel.mkdir(f.id("/var"), "new")));
         },
         [](Fixture& f) { return f.kernel.rename(f.id("/var"), "new", f.id("/etc"), "default"); }},
        {"exchange", nothing, [](Fixture& f) { return f.kernel.rename(f.id("/etc"), "motd", f.id("/usr"), "bin", RENAME_EXCHANGE); }},
        {"chmod", nothing, [](Fixture& f) { return made(f.kernel.chmod(f.id("/etc/motd"), 0600)); }},
        {"chmod of one of two names", nothing, [](Fixture& f) { return made(f.kernel.chmod(f.id("/usr/bin/one"), 0600)); }},
        {"chmod of the root", nothing, [](Fixture& f) { return made(f.kernel.chmod(1, 0700)); }},
        {"chown of a symlink", nothing, [](Fixture& f) { return made(f.kernel.chown(f.id("/usr/bin/link"), 5, 6)); }},
        {"utimes", nothing, [](Fixture& f) { return made(f.kernel.utimes(f.id("/etc/motd"), 5, 6)); }},
        {"setxattr", nothing, [](Fixture& f) { return f.kernel.setxattr(f.id("/etc/motd"), "user.new", "value"); }},
        {"setxattr that must be new", [](Fixture& f) { f.must(create(f, "/etc", "new")); },
         [](Fixture& f) { return f.kernel.setxattr(f.id("/etc/new"), "user.new", "value", XATTR_CREATE); }},
        {"removexattr", nothing, [](Fixture& f) { return f.kernel.removexattr(f.id("/etc/motd"), "user.note"); }},
        {"open for writing", nothing, [](Fixture& f) { return with_open(f, "/usr/bin/prog", O_RDWR, [](uint64_t, uint64_t) { return 0; }); }},
        {"open a link for writing", [](Fixture& f) { f.must(made(f.kernel.chmod(f.id("/usr/bin/prog"), 0700))); },
         [](Fixture& f) { return with_open(f, "/usr/bin/prog", O_RDWR, [](uint64_t, uint64_t) { return 0; }); }},
        {"open and truncate", nothing, [](Fixture& f) { return with_open(f, "/usr/bin/prog", O_WRONLY | O_TRUNC, [](uint64_t, uint64_t) { return 0; }); }},
        {"open and truncate a link", [](Fixture& f) { f.must(made(f.kernel.chmod(f.id("/usr/bin/prog"), 0700))); },
         [](Fixture& f) { return with_open(f, "/usr/bin/prog", O_WRONLY | O_TRUNC, [](uint64_t, uint64_t) { return 0; }); }},
        {"truncate to nothing", nothing, [](Fixture& f) { return made(f.kernel.truncate(f.id("/etc/motd"), 0)); }},
        {"truncate a changed file", [](Fixture& f) { f.must(write_at(f, "/etc/motd", 0, "W")); }, [](Fixture& f) { return made(f.kernel.truncate(f.id("/etc/motd"), 3)); }},
        {"truncate to more", [](Fixture& f) { f.must(write_at(f, "/etc/motd", 0, "W")); }, [](Fixture& f) { return made(f.kernel.truncate(f.id("/etc/motd"), 100'000)); }},
        {"write", [](Fixture& f) { f.must(write_at(f, "/etc/motd", 0, "W")); }, [](Fixture& f) { return write_at(f, "/etc/motd", 2, std::string(5'000, 'w')); }},
        {"fallocate", [](Fixture& f) { f.must(write_at(f, "/etc/motd", 0, "W")); },
         [](Fixture& f) { return with_open(f, "/etc/motd", O_RDWR, [&](uint64_t id, uint64_t fh) { return f.kernel.fallocate(id, fh, 0, 0, 50'000); }); }},
        {"copy_file_range", [](Fixture& f) { f.must(write_at(f, "/etc/motd", 0, "W")); },
         [](Fixture& f) {
             return with_open(f, "/etc/motd", O_RDWR, [&](uint64_t to, uint64_t to_fh) {
                 return with_open(f, "/etc/hosts", O_RDONLY, [&](uint64_t from, uint64_t from_fh) {
                     return f.kernel.copy_file_range(from, from_fh, 0, to, to_fh, 4, 10).error;
                 });
             });
         }},
        {"fsync", [](Fixture& f) { f.must(write_at(f, "/etc/motd", 0, "W")); },
         [](Fixture& f) { return with_open(f, "/etc/motd", O_RDWR, [&](uint64_t id, uint64_t fh) { return f.kernel.fsync(id, fh); }); }},
        {"open a large file for writing", nothing, [](Fixture& f) { return with_open(f, "/var/large", O_RDWR, [](uint64_t, uint64_t) { return 0; }); }, true},
        {"write to a partial file", make_partial, [](Fixture& f) { return write_at(f, "/var/large", 700'001, std::string(5'000, 'w')); }, true},
        {"truncate a partial file", make_partial, [](Fixture& f) { return made(f.kernel.truncate(f.id("/var/large"), 500'001)); }, true},
        {"truncate a partial file to nothing", make_partial, [](Fixture& f) { return with_open(f, "/var/large", O_WRONLY | O_TRUNC, [](uint64_t, uint64_t) { return 0; }); }, true},
        {"a hole in the end of a partial file", make_partial,
         [](Fixture& f) {
             return with_open(f, "/var/large", O_RDWR, [&](uint64_t id, uint64_t fh) {
                 return f.kernel.fallocate(id, fh, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 120'000, kLong.size());
             });
         }, true},
        {"merge a new file",
         [](Fixture& f) {
             f.must(create(f, "/var", "copy"));
             f.must(write_at(f, "/var/copy", 0, std::string(9'000, '1')));
         },
         [](Fixture& f) { return merge(f, "/var/copy", std::string(9'000, '1')); }},
        {"merge a partial file", [](Fixture& f) { f.must(write_at(f, "/var/large", 100'000, std::string(65'536, 'L'))); },
         [](Fixture& f) { return merge(f, "/var/large", kLong); }, true},
        {"write to a merged file",
         [](Fixture& f) {
             f.must(create(f, "/var", "copy"));
             f.must(write_at(f, "/var/copy", 0, std::string(9'000, '1')));
             f.must(merge(f, "/var/copy", std::string(9'000, '1')));
         },
         [](Fixture& f) { return write_at(f, "/var/copy", 5, "five"); }},
        {"fsync of a partial file", make_partial, [](Fixture& f) { return with_open(f, "/var/large", O_RDWR, [&](uint64_t id, uint64_t fh) { return f.kernel.fsync(id, fh); }); }, true},
    };
    return all;
}

// Steps of which a part stays done when a later part fails, as on any file system: what is written is written.
bool may_be_partly_done(const Step& step) {
    const std::string name = step.name;
    return name == "truncate a partial file" || name == "a hole in the end of a partial file";
}

struct Case {
    HostFault fault;
    bool restarts;  // whether another engine takes over before the operation is tried again
};

int act(const Step& step, Fixture& f) {
    try {
        return step.act(f);
    } catch (const LookUpFailed& failed) {
        return failed.error;
    }
}

// Returns whether there was such a call.
bool run(const Step& step, const Case& one, const std::string& after) {
    Fixture f(step.with_large);
    step.prepare(f);
    const std::string before = look(f.kernel, true);
    fail_host_call(one.fault);
    const int error = act(step, f);
    const HostCalls calls = end_host_faults();
    if (!calls.hit()) return false;
    const std::string name = step.name;
    CAPTURE(name);
    CAPTURE(one.fault.number);
    CAPTURE(one.fault.error);
    CAPTURE(one.fault.goes_on);
    CAPTURE(calls.failed);
    CAPTURE(error);
    // What is read only to answer fails when all is done already.
    const bool done = error == 0 || (calls.failed_look && look(f.kernel, false) == after);
    if (!done) {
        CHECK(error == one.fault.error);
        // What cannot be taken back, because nothing can be changed any more: docs/durability.md. But everything can be read
        // as soon as the host works again.
        const bool may_remain = one.fault.goes_on && (one.fault.error == EROFS || one.fault.error == EIO);
        if (may_remain) {
            f.engine->stop();
            FakeKernel kernel;
            EngineThread engine(f.store, kernel);
            kernel.init();
            const std::string seen = look(kernel, true);
            CHECK(seen.find("error ") == std::string::npos);
            CHECK(seen.find("listing ") == std::string::npos);
            CHECK(kernel.fault_text() == "");
            CHECK(f.store.all_objects() == f.objects_before);
            engine.stop();
            return true;
        }
        if (!may_be_partly_done(step)) CHECK(look(f.kernel, true) == before);
        if (!one.fault.goes_on) CHECK(is_empty(f.store.folder().at(f.store.in_area("staging"))));
        if (one.restarts) {
            f.kernel.forget_all();
            f.engine->stop();
            FakeKernel kernel;
            EngineThread engine(f.store, kernel);
            kernel.init();
            if (!may_be_partly_done(step)) CHECK(look(kernel, true) == before);
            CHECK(kernel.fault_text() == "");
            engine.stop();
        } else {
            CHECK(act(step, f) == 0);
        }
    }
    CHECK(f.kernel.fault_text() == "");
    CHECK(f.store.all_objects() == f.objects_before);
    if (!done && one.restarts) return true;
    // A name in staging/ that could not be removed counts as one of the file's until the next worker removes it.
    if (calls.failed != "unlinkat") CHECK(look(f.kernel, false) == after);
    f.engine->stop();
    FakeKernel kernel;
    EngineThread engine(f.store, kernel);
    kernel.init();
    CHECK(look(kernel, false) == after);
    CHECK(is_empty(f.store.folder().at(f.store.in_area("staging"))));
    return true;
}

std::vector<Case> cases(uint64_t number) {
    std::vector<Case> all;
    for (const bool goes_on : {false, true})
        for (const int error : {ENOSPC, EIO, EROFS}) all.push_back({{error, number, goes_on, error == EIO}, (number + all.size()) % 2 == 0});
    const char* wanted = std::getenv("TEMPLATEFS_HOST_FAULTS");
    if (wanted != nullptr && std::string(wanted) == "all") return all;
    // EIO counts more calls than the others do: it says when there are no more.
    return {all[number % 3 == 0 ? 0 : number % 3 == 1 ? 2 : 3], all[1]};
}

}  // namespace

TEST_CASE("an operation whose host call fails has done nothing, and works afterwards") {
    if (!is_root()) return;
    const char* only = std::getenv("TEMPLATEFS_HOST_FAULTS_STEP");
    for (const Step& step : steps()) {
        if (only != nullptr && std::string(step.name).find(only) == std::string::npos) continue;
        std::string after;
        {
            Fixture f(step.with_large);
            step.prepare(f);
            fail_host_call({});
            const int error = act(step, f);
            const HostCalls calls = end_host_faults();
            const std::string name = step.name;
            CAPTURE(name);
            REQUIRE(error == 0);
            REQUIRE(calls.count > 0);
            after = look(f.kernel, false);
        }
        bool more = true;
        for (uint64_t number = 1; more && number < 1000; number++) {
            more = false;
            for (const Case& one : cases(number)) more |= run(step, one, after);
        }
    }
}

#endif
