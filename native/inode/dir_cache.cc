#include "inode/dir_cache.h"

namespace templatefs {

DirRef DirCache::find(uint64_t nodeid) {
    auto found = by_nodeid_.find(nodeid);
    if (found == by_nodeid_.end()) return nullptr;
    recent_.splice(recent_.begin(), recent_, found->second);
    return found->second->handle;
}

void DirCache::insert(uint64_t nodeid, DirRef handle) {
    erase(nodeid);
    while (by_nodeid_.size() >= capacity_) {
        by_nodeid_.erase(recent_.back().nodeid);
        recent_.pop_back();
    }
    recent_.push_front({nodeid, std::move(handle)});
    by_nodeid_[nodeid] = recent_.begin();
}

void DirCache::erase(uint64_t nodeid) {
    auto found = by_nodeid_.find(nodeid);
    if (found == by_nodeid_.end()) return;
    recent_.erase(found->second);
    by_nodeid_.erase(found);
}

void DirCache::clear() {
    recent_.clear();
    by_nodeid_.clear();
}

}  // namespace templatefs
