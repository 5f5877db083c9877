#pragma once
// What the worker is about to do on the host.
//
// A worker can die between a system call and the note of it in the shared state. So each step that changes the private
// area is written down first (arm), then done, then noted, then crossed out (disarm). The next worker finds a step that is
// not crossed out, looks on the host whether it was done, and if so notes it (Root::settle): it never has to guess.
// Steps are chosen so that one system call makes each of them visible at once.

#include <sys/stat.h>

#include <cstdint>
#include <cstring>
#include <string_view>

namespace templatefs {

enum class IntentKind : uint32_t {
    None = 0,
    Materialize,  // `ino` gets a private entry: (folder, name), or inodes/ when `folder` is 0
    OwnContent,   // the link `ino` becomes a file of its own
    Index,        // `ino` gets a name in inodes/
    TreeName,     // the tree name (folder, name) of the indexed `ino` becomes a host link; `value` tree names are left
    Make,         // (folder, name) is made as `ino`
    Link,         // (folder, name) becomes another name of `ino`
    Remove,       // (folder, name), which is `ino`, goes
    SetXattr,     // `ino` gets the xattr `name`, which it has not
    RemoveXattr,  // `ino` loses the xattr `name`, which it has
    Rename,       // (folder, name), which is `ino`, becomes (other_folder, other_name), which may be `other_ino`
    Merge,        // the private file `ino` becomes a link
};

enum IntentFlag : uint32_t {
    kIntentEntry = 1,         // Remove: the name has a private entry. Rename: the replaced name has one
    kIntentReplaces = 2,      // Rename: other_name leads to a file
    kIntentExchange = 4,      // Rename: both names stay
    kIntentHidesTree = 8,     // the (old) name is in the tree folder: a whiteout is left
    kIntentLink = 16,         // Materialize: as a link
    kIntentIndexed = 32,      // Materialize: in inodes/
    kIntentDirectory = 64,    // Materialize: a folder
    kIntentPartial = 128,     // OwnContent: only the blocks that change
};

struct Intent {
    IntentKind kind;
    uint32_t flags;
    uint64_t folder;        // nodeids
    uint64_t other_folder;
    uint64_t ino;
    uint64_t other_ino;
    uint32_t value;
    uint32_t mode, uid, gid;  // Make
    // Before the step: Remove, Rename the entry that goes; Materialize the folder, OwnContent the link, Merge the file, whose times stay.
    struct statx stat;
    uint16_t name_size, other_size;
    char name_bytes[256];  // OwnContent: `other_bytes` holds the link's security.capability
    char other_bytes[256];

    std::string_view name() const { return {name_bytes, name_size}; }
    std::string_view other_name() const { return {other_bytes, other_size}; }
    // Names are at most 255 bytes; both are NUL-terminated.
    void set_name(std::string_view text) { name_size = copy(name_bytes, text); }
    void set_other_name(std::string_view text) { other_size = copy(other_bytes, text); }

private:
    static uint16_t copy(char* to, std::string_view text) {
        size_t size = text.size() < 255 ? text.size() : 255;
        std::memcpy(to, text.data(), size);
        to[size] = 0;
        return static_cast<uint16_t>(size);
    }
};

}  // namespace templatefs
