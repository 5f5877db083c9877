#include "tools/settled.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "testing/temp_folder.h"

using namespace templatefs;
using templatefs::testing::TempFolder;

namespace {

std::string state(const TempFolder& folder, const std::string& name) {
    struct stat stat{};
    REQUIRE(::lstat(folder.at(name).c_str(), &stat) == 0);
    const auto ns = [](const timespec& time) { return std::to_string(int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec); };
    return std::to_string(stat.st_ino) + ":" + std::to_string(stat.st_size) + ":" + ns(stat.st_mtim) + ":" + ns(stat.st_ctim);
}

constexpr const char* kMark = "0123456789abcdef-7";

struct Store {
    Store() {
        store.write("catalog.sqlite", std::string("catalog"));
        store.make_folders("private/c1/x");
        store.write("private/c1/changes", std::string("templatefs-changes 1\nmark ") + kMark + "\n");
        file = "templatefs-settled 1\nfile catalog.sqlite " + state(store, "catalog.sqlite") + "\nfile catalog.sqlite-wal -\nmark c1 " + kMark + "\ntext\nnothing to do\nend\n";
    }
    Result<std::string> text(const std::string& settled) const { return settled_text(store.fd(), settled); }

    TempFolder store;
    std::string file;
};

}  // namespace

TEST_CASE("settled: where nothing has changed there is its text") {
    Store store;
    CHECK(store.text(store.file).value() == "nothing to do\n");
}

TEST_CASE("settled: what has changed") {
    Store store;
    SUBCASE("a file") { store.store.write("catalog.sqlite", std::string("another")); }
    SUBCASE("a file that was not there") { store.store.write("catalog.sqlite-wal", std::string("x")); }
    SUBCASE("an empty file that was not there") { store.store.write("catalog.sqlite-wal", std::string()); }
    SUBCASE("a file that is gone") { REQUIRE(::unlink(store.store.at("catalog.sqlite").c_str()) == 0); }
    SUBCASE("the mark") { store.store.write("private/c1/changes", std::string("templatefs-changes 1\nmark 0123456789abcdef-8\n")); }
    SUBCASE("a mark that is gone") { REQUIRE(::unlink(store.store.at("private/c1/changes").c_str()) == 0); }
    SUBCASE("a mark that is none") { store.store.write("private/c1/changes", std::string("templatefs-changes 1\nmark ")); }
    CHECK_FALSE(store.text(store.file).ok());
}

TEST_CASE("settled: files that are none") {
    Store store;
    // Cut short anywhere: it is not made durable.
    for (size_t length = 0; length < store.file.size(); length++) CHECK_FALSE(store.text(store.file.substr(0, length)).ok());
    const std::string head = "templatefs-settled 1\n";
    for (const char* line : {"file ../x -", "file /etc/passwd -", "file a", "file a b c", "mark ../c1 x", "mark c1 ", "what c1 x", ""})
        CHECK_FALSE(store.text(head + line + "\ntext\nend\n").ok());
}
