// Random operations on a root and on an ordinary folder that started with the same content: whatever one allows the other
// must allow, and in the end both must be the same. The engine is stopped, killed and started in between.

#include <dirent.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <sstream>

#include "inode/recount.h"
#include "testing/engine_process.h"
#include "testing/engine_thread.h"

using namespace templatefs;
using namespace templatefs::testing;

namespace {

constexpr int64_t kTreeTime = 1'700'000'000;

// `Engine`: EngineThread, or EngineProcess whose workers are killed in the middle of requests.
template <class Engine>
class Twins {
public:
    explicit Twins(uint32_t seed) : random_(seed) {
        // Limits that are never reached: so everything is counted, on every other seed.
        counted_ = seed % 2 == 1;
        if (counted_) {
            store_.add_setting("quota-size 100000000000");
            store_.add_setting("quota-inodes 1000000");
        }
        make_tree();
        start();
    }

    ~Twins() {
        for (auto& file : open_) ::close(file.host);
    }

    void run(int steps) {
        for (int step = 0; step < steps; ++step) {
            one();
            uint32_t chance = pick(400);
            if (chance == 0) restart(true);
            else if (chance == 1) restart(false);
            else if (chance < 4) kernel_->forget_all_but(open_nodes());
            else if (chance == 4) compare();
            else if (chance < 100) compare_usage();
            if (failed_) break;
        }
        compare();
        close_all();
        compare();
        restart(true);
        compare();
        kernel_->settle();
        CHECK(kernel_->fault_text() == "");
        // Nothing is left of what has no name any more, and nothing half-made.
        engine_->stop();
        CHECK(::rmdir(store_.folder().at(store_.in_area("staging")).c_str()) == 0);
    }

    std::string log() const {
        std::string text;
        for (const auto& line : log_) text += line + "\n";
        return text;
    }
    bool failed() const { return failed_; }
    unsigned replaced() const { return replaced_; }
    unsigned merged() const { return merged_; }

private:
    struct OpenPair {
        std::string path;  // at the time of the open
        uint64_t nodeid, fh;
        int host;
        uint32_t flags;
    };

    uint32_t pick(uint32_t limit) { return static_cast<uint32_t>(random_() % limit); }
    std::string host(const std::string& path) const { return reference_.path() + "/r" + path; }

    void make_tree() {
        ::umask(0);
        REQUIRE(::mkdir(host("").c_str(), 0755) == 0);
        std::vector<std::pair<std::string, int>> folders = {{"", 0}};
        auto add_folder = [&](const std::string& path) {
            tree_.folder(path);
            REQUIRE(::mkdir(host(path).c_str(), 0755) == 0);
            folders.emplace_back(path, 0);
        };
        auto add_file = [&](const std::string& path, const std::string& content) {
            store_.add_file(tree_, path, content);
            reference_.write("r" + path, content, 0644);
        };
        for (const char* top : {"/a", "/b", "/c"}) {
            add_folder(top);
            add_file(std::string(top) + "/f", std::string("file in ") + top);
            add_file(std::string(top) + "/g", std::string(5000, top[1]));
            add_folder(std::string(top) + "/d");
            add_file(std::string(top) + "/d/f", std::string("deep in ") + top);
            add_folder(std::string(top) + "/d/e");
        }
        add_file("/e", "");
        tree_.symlink("/a/l", "f");
        REQUIRE(::symlink("f", host("/a/l").c_str()) == 0);
        for (auto [link, target] : {std::pair{"/a/h", "/a/f"}, {"/b/h", "/a/f"}, {"/c/d/h", "/a/f"}}) {
            tree_.hard_link(link, target);
            REQUIRE(::link(host(target).c_str(), host(link).c_str()) == 0);
        }
        store_.finish(tree_);
        set_times(host(""));
    }

    void set_times(const std::string& path) {
        struct stat st;
        REQUIRE(::lstat(path.c_str(), &st) == 0);
        if (S_ISDIR(st.st_mode)) {
            for (const auto& name : host_names(path)) set_times(path + "/" + name);
        }
        timespec times[2] = {{kTreeTime, 0}, {kTreeTime, 0}};
        REQUIRE(::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW) == 0);
    }

    static std::vector<std::string> host_names(const std::string& path) {
        std::vector<std::string> names;
        DIR* stream = ::opendir(path.c_str());
        if (stream == nullptr) return names;
        while (const dirent* entry = ::readdir(stream)) {
            std::string name = entry->d_name;
            if (name != "." && name != "..") names.push_back(name);
        }
        ::closedir(stream);
        std::sort(names.begin(), names.end());
        return names;
    }

    // FakeKernel with the part of forgetting that needs to know what is open.
    struct Kernel : FakeKernel {
        void forget_all_but(const std::set<uint64_t>& kept) {
            auto all = lookups();
            for (auto [nodeid, count] : all) {
                if (nodeid != 1 && !kept.contains(nodeid)) forget(nodeid, count);
            }
        }
    };

    std::set<uint64_t> open_nodes() const {
        std::set<uint64_t> nodes;
        for (const auto& file : open_) nodes.insert(file.nodeid);
        return nodes;
    }

    void start() {
        kernel_ = std::make_unique<Kernel>();
        engine_ = std::make_unique<Engine>(store_, *kernel_);
        if constexpr (std::is_same_v<Engine, EngineProcess>) {
            kernel_->init();
            kernel_->while_waiting = [this] {
                if (random_() % 8 != 0) return;
                // Some requests take longer: killed at any time of any of them.
                ::usleep(static_cast<useconds_t>(random_() % 200));
                engine_->replace_worker();
                replaced_++;
            };
        } else {
            kernel_->init();
        }
    }

    void restart(bool clean) {
        close_all();
        log_.push_back(clean ? "restart" : "kill and start");
        kernel_->settle();
        CHECK(kernel_->fault_text() == "");
        if (clean) engine_->stop();
        else engine_->kill();
        engine_.reset();
        start();
    }

    void close_all() {
        while (!open_.empty()) close_one(0);
    }

    void close_one(size_t at) {
        OpenPair file = open_[at];
        open_.erase(open_.begin() + static_cast<ptrdiff_t>(at));
        ::close(file.host);
        CHECK(kernel_->release(file.nodeid, file.fh, file.flags) == 0);
    }

    std::string random_folder() {
        std::string path;
        for (uint32_t depth = pick(4); depth > 0; --depth) {
            auto names = host_names(host(path));
            std::vector<std::string> folders;
            struct stat st;
            for (const auto& name : names) {
                if (::lstat(host(path + "/" + name).c_str(), &st) == 0 && S_ISDIR(st.st_mode)) folders.push_back(name);
            }
            if (folders.empty()) break;
            path += "/" + folders[pick(static_cast<uint32_t>(folders.size()))];
        }
        return path;
    }

    std::string random_name(const std::string& folder) {
        auto names = host_names(host(folder));
        if (!names.empty() && pick(3) != 0) return names[pick(static_cast<uint32_t>(names.size()))];
        static const char* const pool[] = {"a", "b", "c", "d", "e", "f", "g", "h", "l", "n1", "n2", "n3"};
        return pool[pick(std::size(pool))];
    }

    uint64_t node(const std::string& path) { return kernel_->walk(path).nodeid(); }
    static int result(int returned) { return returned < 0 ? errno : 0; }

    void expect_same(const std::string& what, int expected, int got) {
        log_.push_back(what + " = " + std::to_string(expected));
        // Which of several reasons is named first is the VFS's own affair.
        if ((expected == 0) == (got == 0)) return;
        failed_ = true;
        FAIL_CHECK(what << ": the host says " << expected << ", the engine " << got);
    }

    void one() {
        std::string folder = random_folder(), name = random_name(folder), path = folder + "/" + name;
        struct stat st;
        bool there = ::lstat(host(path).c_str(), &st) == 0;
        bool is_dir = there && S_ISDIR(st.st_mode), is_file = there && S_ISREG(st.st_mode);
        switch (pick(18)) {
            case 0:
                expect_same("mkdir " + path, result(::mkdir(host(path).c_str(), 0750)),
                            kernel_->mkdir(node(folder), name, 0750).error);
                break;
            case 1: {
                auto created = kernel_->create(node(folder), name, 0640, O_RDWR);
                int fd = ::open(host(path).c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
                expect_same("create " + path, result(fd), created.error);
                if (created.error == 0 && fd >= 0) open_.push_back({path, created.nodeid(), created.open.fh, fd, O_RDWR});
                break;
            }
            case 2:
                expect_same("symlink " + path, result(::symlink("target", host(path).c_str())),
                            kernel_->symlink(node(folder), name, "target").error);
                break;
            case 3:
            case 4:
                if (is_dir) break;
                expect_same("unlink " + path, result(::unlink(host(path).c_str())), kernel_->unlink(node(folder), name));
                break;
            case 5:
                if (there && !is_dir) break;
                expect_same("rmdir " + path, result(::rmdir(host(path).c_str())), kernel_->rmdir(node(folder), name));
                break;
            case 6:
            case 7:
            case 8: {
                std::string to_folder = random_folder(), to_name = random_name(to_folder), to = to_folder + "/" + to_name;
                uint32_t flags = pick(3) == 0 ? (pick(2) == 0 ? RENAME_NOREPLACE : RENAME_EXCHANGE) : 0;
                // The VFS refuses to move a folder into itself before a file system hears of it.
                if ((to_folder + "/").starts_with(path + "/") || (folder + "/").starts_with(to + "/")) break;
                int expected = result(::renameat2(AT_FDCWD, host(path).c_str(), AT_FDCWD, host(to).c_str(), flags));
                expect_same("rename " + path + " " + to + " " + std::to_string(flags), expected,
                            kernel_->rename(node(folder), name, node(to_folder), to_name, flags));
                break;
            }
            case 9:
            case 10: {
                std::string to_folder = random_folder(), to_name = random_name(to_folder), to = to_folder + "/" + to_name;
                if (!there || is_dir) break;
                int expected = result(::linkat(AT_FDCWD, host(path).c_str(), AT_FDCWD, host(to).c_str(), 0));
                expect_same("link " + path + " " + to, expected,
                            kernel_->link(node(path), node(to_folder), to_name).error);
                break;
            }
            case 11:
                if (!there || S_ISLNK(st.st_mode)) break;
                expect_same("chmod " + path, result(::chmod(host(path).c_str(), 0711)), kernel_->chmod(node(path), 0711).error);
                break;
            case 12: {
                if (!is_file) break;
                uint32_t flags = pick(2) == 0 ? O_RDWR : pick(2) == 0 ? O_RDONLY : O_WRONLY | O_TRUNC;
                uint64_t nodeid = node(path);
                auto opened = kernel_->open(nodeid, flags);
                int fd = ::open(host(path).c_str(), static_cast<int>(flags) | O_CLOEXEC);
                expect_same("open " + path + " " + std::to_string(flags), result(fd), opened.error);
                if (opened.error == 0 && fd >= 0) open_.push_back({path, nodeid, opened.fh, fd, flags});
                break;
            }
            case 13: {
                if (open_.empty()) break;
                const OpenPair& file = open_[pick(static_cast<uint32_t>(open_.size()))];
                if ((file.flags & O_ACCMODE) != O_RDONLY) {
                    std::string data(pick(3) == 0 ? 9000 : 5, static_cast<char>('A' + pick(26)));
                    uint64_t offset = pick(8000);
                    auto written = kernel_->write(file.nodeid, file.fh, offset, data);
                    ssize_t expected = ::pwrite(file.host, data.data(), data.size(), static_cast<off_t>(offset));
                    expect_same("write " + file.path, expected < 0 ? errno : 0, written.error);
                } else {
                    auto got = kernel_->read(file.nodeid, file.fh, 0, 20'000);
                    std::string expected(20'000, '\0');
                    ssize_t size = ::pread(file.host, expected.data(), expected.size(), 0);
                    expected.resize(static_cast<size_t>(std::max<ssize_t>(size, 0)));
                    expect_same("read " + file.path, 0, got.error);
                    if (got.text != expected) {
                        failed_ = true;
                        FAIL_CHECK("an open of " << file.path << " reads something else");
                    }
                }
                break;
            }
            case 14:
                if (!open_.empty()) {
                    size_t at = pick(static_cast<uint32_t>(open_.size()));
                    log_.push_back("close " + open_[at].path);
                    close_one(at);
                }
                break;
            case 15:
                if (!is_file) break;
                if (pick(2) == 0) {
                    uint64_t size = pick(7000);
                    expect_same("truncate " + path, result(::truncate(host(path).c_str(), static_cast<off_t>(size))),
                                kernel_->truncate(node(path), size).error);
                } else {
                    expect_same("setxattr " + path, result(::lsetxattr(host(path).c_str(), "user.x", "1", 1, 0)),
                                kernel_->setxattr(node(path), "user.x", "1"));
                }
                break;
            case 16:
            case 17:
                if (is_file && st.st_size > 0) merge(path);
                break;
            default: break;
        }
    }

    // The container must see nothing of it, whatever comes of it.
    void merge(const std::string& path) {
        if constexpr (std::is_same_v<Engine, EngineThread>) {
            const fuse_attr attr = kernel_->getattr(node(path)).attr;
            // Now and then what is not equal.
            std::string content = reference_.read("r" + path);
            if (pick(8) == 0) content[pick(static_cast<uint32_t>(content.size()))] ^= 1;
            MergeRequest request;
            request.ino = attr.ino;
            request.size = attr.size;
            request.mtime = {static_cast<time_t>(attr.mtime), static_cast<long>(attr.mtimensec)};
            request.object = store_.add_object(content);
            request.path = path;
            const MergeAnswer answer = engine_->root().merge(request, MergeBudget(1'000'000'000));
            log_.push_back("merge " + path + " = " + std::to_string(static_cast<int>(answer.kind)) + " " + answer.reason);
            if (answer.kind == MergeAnswer::Kind::Failed || answer.kind == MergeAnswer::Kind::Unfinished) {
                failed_ = true;
                FAIL_CHECK("merging " << path << " failed: " << answer.error);
            }
            if (answer.kind == MergeAnswer::Kind::Merged) merged_++;
        }
    }

    // One line for each entry; inode numbers become the order of their first appearance.
    std::string host_text() {
        std::ostringstream text;
        std::map<uint64_t, size_t> seen;
        auto walk = [&](auto self, const std::string& path) -> void {
            struct stat st;
            REQUIRE(::lstat(host(path).c_str(), &st) == 0);
            size_t number = seen.emplace(st.st_ino, seen.size()).first->second;
            bool is_dir = S_ISDIR(st.st_mode);
            text << path << " " << std::oct << st.st_mode << std::dec << " " << st.st_nlink << " " << (is_dir ? 0 : st.st_size)
                 << " #" << number << (st.st_mtime == kTreeTime ? " old" : " new");
            char target[100];
            if (S_ISLNK(st.st_mode)) {
                ssize_t size = ::readlink(host(path).c_str(), target, sizeof target);
                text << " " << std::string(target, static_cast<size_t>(size));
            }
            if (S_ISREG(st.st_mode)) {
                char value[10];
                ssize_t size = ::lgetxattr(host(path).c_str(), "user.x", value, sizeof value);
                text << " x" << (size < 0 ? std::string() : std::string(value, static_cast<size_t>(size)));
                text << " " << std::hash<std::string>()(reference_.read("r" + path));
            }
            text << "\n";
            if (!is_dir) return;
            for (const auto& name : host_names(host(path))) self(self, path + "/" + name);
        };
        walk(walk, "");
        return text.str();
    }

    std::string engine_text() {
        std::ostringstream text;
        std::map<uint64_t, size_t> seen;
        auto walk = [&](auto self, const std::string& path, uint64_t nodeid) -> void {
            fuse_attr attr = kernel_->getattr(nodeid).attr;
            size_t number = seen.emplace(attr.ino, seen.size()).first->second;
            bool is_dir = S_ISDIR(attr.mode);
            text << path << " " << std::oct << attr.mode << std::dec << " " << attr.nlink << " " << (is_dir ? 0 : attr.size)
                 << " #" << number << (attr.mtime == kTreeTime ? " old" : " new");
            if (S_ISLNK(attr.mode)) text << " " << kernel_->readlink(nodeid).text;
            if (S_ISREG(attr.mode)) {
                text << " x" << kernel_->getxattr(nodeid, "user.x").text;
                text << " " << std::hash<std::string>()(kernel_->read_file(path).text);
            }
            text << "\n";
            if (!is_dir) return;
            auto listed = kernel_->readdir(nodeid, pick(2) == 0, 512);
            if (listed.error != 0) text << "cannot list: " << listed.error << "\n";
            for (const auto& name : listed.names()) {
                auto child = kernel_->lookup(nodeid, name);
                if (child.error != 0) text << path << "/" << name << " is listed and not found: " << child.error << "\n";
                else self(self, path + "/" + name, child.nodeid());
            }
        };
        walk(walk, "", 1);
        return text.str();
    }

    void compare() {
        std::string expected = host_text(), got = engine_text();
        compare_usage();
        if (expected == got) {
            return;
        }
        failed_ = true;
        std::istringstream a(expected), b(got);
        std::string x, y;
        std::string difference;
        while (true) {
            bool more_a = static_cast<bool>(std::getline(a, x)), more_b = static_cast<bool>(std::getline(b, y));
            if (!more_a && !more_b) break;
            if (!more_a) x = "(none)";
            if (!more_b) y = "(none)";
            if (x != y) {
                difference = "host:   " + x + "\nengine: " + y;
                break;
            }
        }
        FAIL_CHECK("the trees differ:\n" << difference);
    }

    // What was counted step by step is what counting everything gives.
    void compare_usage() {
        if (!counted_) return;
        auto parts = store_.parts();
        UsageTotals all = recount(parts.area).take();
        UsageState counted = engine_->usage();
        if (counted.used_inodes == all.inodes && counted.used_bytes == all.bytes) return;
        failed_ = true;
        FAIL_CHECK("counted " << counted.used_inodes << " inodes, " << counted.used_bytes << " bytes; there are "
                              << all.inodes << ", " << all.bytes);
    }

    std::mt19937 random_;
    bool counted_ = false;
    TestStore store_;
    TempFolder reference_;
    TreeBuilder tree_;
    std::unique_ptr<Kernel> kernel_;
    std::unique_ptr<Engine> engine_;
    unsigned replaced_ = 0, merged_ = 0;
    std::vector<OpenPair> open_;
    std::vector<std::string> log_;
    bool failed_ = false;
};

// One seed and many steps by hand: TEMPLATEFS_SEED=7 TEMPLATEFS_STEPS=100000
template <class Engine>
unsigned run_seeds(uint32_t first, uint32_t last, int steps, unsigned* merged = nullptr) {
    if (const char* wanted = std::getenv("TEMPLATEFS_SEED")) first = last = static_cast<uint32_t>(std::atoi(wanted));
    if (const char* wanted = std::getenv("TEMPLATEFS_STEPS")) steps = std::atoi(wanted);
    unsigned replaced = 0;
    for (uint32_t seed = first; seed <= last; ++seed) {
        Twins<Engine> twins(seed);
        twins.run(steps);
        replaced += twins.replaced();
        if (merged != nullptr) *merged += twins.merged();
        if (twins.failed()) {
            MESSAGE("seed " << seed << ":\n" << twins.log());
            break;
        }
    }
    return replaced;
}

}  // namespace

TEST_CASE("a root behaves like an ordinary folder under random operations") {
    if (!is_root()) return;
    unsigned merged = 0;
    run_seeds<EngineThread>(1, 10, 500, &merged);
    CHECK(merged > 50);
}

TEST_CASE("killing the worker again and again changes nothing that a container sees") {
    if (!is_root()) return;
    CHECK(run_seeds<EngineProcess>(1, 4, 300) > 100);
}
