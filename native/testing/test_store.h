#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "inode/root.h"
#include "testing/temp_folder.h"
#include "testing/tree_builder.h"

namespace templatefs::testing {

// A store with one tree and one container in a temporary folder. Needs root: it has owners, devices and trusted xattrs.
//
//   TestStore store;
//   store.add_file(tree, "/etc/motd", "hello\n");
//   store.finish(tree);
//   Root::Parts parts = store.parts();
class TestStore {
public:
    TestStore();

    // A regular file with content, which becomes an object; empty content becomes an empty file.
    void add_file(TreeBuilder& tree, std::string_view path, const std::string& content, NodeMeta meta = {});
    // Writes the image and the container's settings. `shared`: see docs/formats/private-area.md.
    void finish(TreeBuilder& tree, const std::vector<std::string>& shared = {});

    // A further line of the container file, before finish(): "quota-size 1000000".
    void add_setting(const std::string& line) { more_settings_ += line + "\n"; }

    // What an engine works on, opened anew: a second call stands for a later engine.
    Root::Parts parts();

    const TempFolder& folder() const { return folder_; }
    // A path in the private area: of the container's root/, or of what else is in it.
    std::string in_root(const std::string& path) const { return "private/c1/root" + path; }
    std::string in_area(const std::string& name) const { return "private/c1/" + name; }
    std::string object_file(const std::string& content) const;
    // Makes an object that no tree has.
    ObjectRef add_object(const std::string& content);
    // What a link to that content names.
    ObjectRef object(const std::string& content) const;
    // The bytes of all objects, to see that none has changed.
    std::string all_objects() const;

private:
    TempFolder folder_;
    uint32_t objects_ = 0;
    std::string more_settings_;
    std::map<std::string, std::array<uint8_t, 16>> by_content_;
};

// False, with a message, when the tests do not run as root.
bool is_root();

}  // namespace templatefs::testing
