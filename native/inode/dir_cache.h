#pragma once
// Open descriptors of private folders, a bounded number of them, with what is worth knowing about each folder.
// All of it can be read again from the private area, so it is the worker's own memory.

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/unique_fd.h"
#include "inode/node_table.h"

namespace templatefs {

struct DirHandle {
    UniqueFd fd;  // O_RDONLY: for *at calls and for reading entries

    // Merged folders, after scan: which positions of the tree folder have a private entry, and how many subfolders
    // there are compared with the tree folder.
    bool scanned = false;
    std::vector<bool> overridden;
    int64_t subfolder_change = 0;

    // Whether the folder has a default ACL: unknown, no, yes.
    enum class DefaultAcl : uint8_t { Unknown, None, Present };
    DefaultAcl default_acl = DefaultAcl::Unknown;

    // The host offset at which the next getdents64 on `fd` continues.
    uint64_t read_offset = 0;
};

// Holds a handle open for the time of an operation, also when the cache drops it.
using DirRef = std::shared_ptr<DirHandle>;

class DirCache {
public:
    explicit DirCache(size_t capacity) : capacity_(capacity) {}

    DirRef find(uint64_t nodeid);
    void insert(uint64_t nodeid, DirRef handle);
    void erase(uint64_t nodeid);
    void clear();

private:
    struct Entry {
        uint64_t nodeid;
        DirRef handle;
    };
    size_t capacity_;
    std::list<Entry> recent_;  // most recent first
    std::unordered_map<uint64_t, std::list<Entry>::iterator> by_nodeid_;
};

}  // namespace templatefs
