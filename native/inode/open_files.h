#pragma once
#include <cstdint>
#include <list>
#include <unordered_map>

#include "base/unique_fd.h"

namespace templatefs {

struct OpenFile {
    UniqueFd fd;
    bool writable = false;
    UniqueFd object{};   // of a partial file, else not open
    uint64_t shown = 0;  // how much of it shows
};

// Descriptors for READ, WRITE and fsync: a bounded number, however many files a container has open, because each can be
// opened again.
class OpenFiles {
public:
    explicit OpenFiles(size_t capacity) : capacity_(capacity) {}

    OpenFile* find(uint64_t nodeid) {
        auto found = by_nodeid_.find(nodeid);
        if (found == by_nodeid_.end()) return nullptr;
        recent_.splice(recent_.begin(), recent_, found->second);
        return &found->second->file;
    }
    void insert(uint64_t nodeid, OpenFile file) {
        erase(nodeid);
        while (by_nodeid_.size() >= capacity_) {
            by_nodeid_.erase(recent_.back().nodeid);
            recent_.pop_back();
        }
        recent_.push_front({nodeid, std::move(file)});
        by_nodeid_[nodeid] = recent_.begin();
    }
    void erase(uint64_t nodeid) {
        auto found = by_nodeid_.find(nodeid);
        if (found == by_nodeid_.end()) return;
        recent_.erase(found->second);
        by_nodeid_.erase(found);
    }
    void clear() {
        recent_.clear();
        by_nodeid_.clear();
    }

private:
    struct Entry {
        uint64_t nodeid;
        OpenFile file;
    };
    size_t capacity_;
    std::list<Entry> recent_;  // most recent first
    std::unordered_map<uint64_t, std::list<Entry>::iterator> by_nodeid_;
};

}  // namespace templatefs
