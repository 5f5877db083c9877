// The fuzzers without libFuzzer: every kept input, every input that once showed a bug, and for each fuzzer some random changes
// of those, by g++'s sanitizers. Needs no clang and takes seconds. TEMPLATEFS_FUZZ_RUNS: how many changes, for longer runs.

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <vector>

#include "fuzz/harness.h"
#include "testing/test_store.h"

using namespace templatefs;
using namespace templatefs::fuzz;

// The same code runs under AddressSanitizer; there is nothing for ThreadSanitizer in one thread.
#ifndef __SANITIZE_THREAD__

namespace {

using Bytes = std::vector<std::byte>;

std::vector<std::filesystem::path> inputs_of(const Harness& harness) {
    std::vector<std::filesystem::path> paths;
    for (const char* kind : {"corpus", "regressions"}) {
        const auto folder = std::filesystem::path("test/fuzz") / kind / harness.name;
        if (!std::filesystem::exists(folder)) continue;
        for (const auto& entry : std::filesystem::directory_iterator(folder)) paths.push_back(entry.path());
    }
    std::sort(paths.begin(), paths.end());
    return paths;
}

Bytes read(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    const auto bytes = std::as_bytes(std::span(text));
    return {bytes.begin(), bytes.end()};
}

Bytes changed(const std::vector<Bytes>& all, std::mt19937& random) {
    const auto pick = [&](size_t count) { return count == 0 ? 0 : random() % count; };
    Bytes bytes = all[pick(all.size())];
    for (size_t i = pick(4) + 1; i > 0; i--) {
        const size_t at = pick(bytes.size());
        switch (pick(5)) {
            case 0:
                if (!bytes.empty()) bytes[at] = static_cast<std::byte>(random());
                break;
            case 1: bytes.insert(bytes.begin() + static_cast<ptrdiff_t>(at), static_cast<std::byte>(random())); break;
            case 2:
                if (!bytes.empty()) bytes.erase(bytes.begin() + static_cast<ptrdiff_t>(at));
                break;
            case 3:
                if (!bytes.empty()) bytes[at] ^= static_cast<std::byte>(1U << pick(8));
                break;
            default: {  // the end of another one
                const Bytes& other = all[pick(all.size())];
                const size_t from = pick(other.size());
                bytes.resize(at);
                bytes.insert(bytes.end(), other.begin() + static_cast<ptrdiff_t>(from), other.end());
                break;
            }
        }
    }
    return bytes;
}

// What the child was doing when it ended.
struct Progress {
    size_t runs;
    char doing[200];
};

[[noreturn]] void run_all(const Harness& harness, const std::vector<std::filesystem::path>& paths, Progress& progress) {
    std::vector<Bytes> all;
    for (const auto& path : paths) {
        all.push_back(read(path));
        std::snprintf(progress.doing, sizeof progress.doing, "%s", path.c_str());
        harness.run(all.back());
        progress.runs++;
    }
    const char* wanted = std::getenv("TEMPLATEFS_FUZZ_RUNS");
    const int changes = wanted != nullptr ? std::atoi(wanted) : 100;
    const char* seed = std::getenv("TEMPLATEFS_SEED");
    std::mt19937 random(seed != nullptr ? static_cast<uint32_t>(std::atoi(seed)) : 1);
    for (int i = 0; i < changes; i++) {
        const Bytes bytes = changed(all, random);
        std::snprintf(progress.doing, sizeof progress.doing, "random change %d", i);
        if (const char* kept = std::getenv("TEMPLATEFS_FUZZ_KEEP")) {
            std::ofstream file(kept, std::ios::binary);
            file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
        }
        harness.run(bytes);
        progress.runs++;
    }
    std::fflush(nullptr);
    ::_exit(0);
}

}  // namespace

TEST_CASE("the fuzzers find nothing in their kept inputs and in changes of them") {
    if (!testing::is_root()) return;
    for (const Harness& harness : kHarnesses) {
        const std::string name = harness.name;
        CAPTURE(name);
        const auto paths = inputs_of(harness);
        REQUIRE(paths.size() > 0);
        auto* progress = static_cast<Progress*>(::mmap(nullptr, sizeof(Progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
        REQUIRE(progress != MAP_FAILED);
        // In a process of its own: it ends at a finding, and the file system that it works on goes with it.
        std::fflush(nullptr);
        const pid_t child = ::fork();
        REQUIRE(child >= 0);
        if (child == 0) run_all(harness, paths, *progress);
        int status = 0;
        REQUIRE(::waitpid(child, &status, 0) == child);
        const std::string doing = progress->doing;
        CAPTURE(doing);
        CHECK(status == 0);
        CHECK(progress->runs >= paths.size());
        ::munmap(progress, sizeof(Progress));
    }
}

#endif
