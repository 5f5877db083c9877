#include "testing/test_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace templatefs::testing {
namespace {

const std::string kDigest(64, 'd');

template <class T>
T must(Result<T> result, const char* what) {
    if (!result.ok()) {
        std::fprintf(stderr, "test_store: %s: errno %d\n", what, result.error_code());
        std::abort();
    }
    return result.take();
}

}  // namespace

TestStore::TestStore() {
    // As the engine: modes come from the requests.
    ::umask(0);
    for (const char* name : {"objects", "trees", "private/c1"}) folder_.make_folders(name);
}

std::string TestStore::object_file(const std::string& content) const {
    std::string name = hex(by_content_.at(content));
    return "objects/" + name.substr(0, 2) + "/" + name.substr(2);
}

ObjectRef TestStore::add_object(const std::string& content) {
    auto [found, fresh] = by_content_.emplace(content, std::array<uint8_t, 16>{});
    if (fresh) {
        found->second = object_hash(++objects_ * 0x01010101u);
        folder_.write(object_file(content), content, 0400);
    }
    return object(content);
}

ObjectRef TestStore::object(const std::string& content) const { return {by_content_.at(content), 0, content.size()}; }

void TestStore::add_file(TreeBuilder& tree, std::string_view path, const std::string& content, NodeMeta meta) {
    meta.size = content.size();
    if (!content.empty()) meta.hash = add_object(content).hash;
    tree.file(path, meta);
}

void TestStore::finish(TreeBuilder& tree, const std::vector<std::string>& shared) {
    folder_.write("trees/" + kDigest, tree.build(), 0400);
    std::string settings = "templatefs-container 1\nname c1\ntemplate test\ntree " + kDigest +
                           "\ncreated 2026-01-01T00:00:00.000Z\n";
    for (const auto& path : shared) settings += "shared " + path + "\n";
    folder_.write(in_area("container"), settings + more_settings_, 0600);
}

Root::Parts TestStore::parts() {
    UniqueFd objects = must(open_at(folder_.fd(), "objects", O_RDONLY | O_DIRECTORY), "objects");
    UniqueFd trees = must(open_at(folder_.fd(), "trees", O_RDONLY | O_DIRECTORY), "trees");
    TreeImage tree = must(TreeImage::open(trees.get(), kDigest.c_str()), "tree");
    PrivateArea area = must(PrivateArea::open(folder_.fd(), "c1"), "private area");
    std::string broken;
    SharedPaths shared = must(find_shared_paths(folder_.fd(), area.settings(), broken), "shared paths");
    return {std::move(objects), std::move(tree), std::move(area), std::move(shared), {}, -1};
}

std::string TestStore::all_objects() const {
    std::string all;
    for (const auto& [content, hash] : by_content_) all += folder_.read(object_file(content)) + "\n";
    return all;
}

bool is_root() {
    if (::geteuid() == 0) return true;
    std::fprintf(stderr, "skipped: needs root\n");
    return false;
}

}  // namespace templatefs::testing
