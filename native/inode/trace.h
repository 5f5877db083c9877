#pragma once
// What programs have asked of a root: names that were looked up, whether they were there or not, and folders that were listed. Begun
// before the kernel knows anything of the root, it has all that they can have read, since whoever reads a file looks up its names first.
// The control plane asks for it while a package manager works: docs/installer.md, "Replays".
//
// It is the worker's own memory: a new worker has none, and says so.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

namespace templatefs {

class Trace {
public:
    bool is_on() const { return on_; }
    void begin() {
        end();
        on_ = true;
    }
    void end() { *this = Trace(); }
    // More was asked than is kept.
    bool is_full() const { return full_; }

    // The path of a folder, without '/' at its end, where it is known.
    const std::string* folder(uint64_t nodeid) const {
        auto found = folders_.find(nodeid);
        return found == folders_.end() ? nullptr : &found->second;
    }
    const std::string& know(uint64_t nodeid, std::string path) { return folders_[nodeid] = std::move(path); }
    // A folder has moved, and all below it.
    void forget_folders() { folders_.clear(); }

    void asked(const std::string& folder, std::string_view name) { add('a', folder + "/" + std::string(name)); }
    void listed(const std::string& folder) { add('l', folder.empty() ? "/" : folder); }
    // Records that each end with NUL: `a` or `l`, and the path.
    std::string text() const;

private:
    static constexpr size_t kMostBytes = 64 << 20;
    void add(char kind, const std::string& path);

    bool on_ = false, full_ = false;
    size_t bytes_ = 0;
    std::unordered_map<uint64_t, std::string> folders_;
    std::unordered_set<std::string> records_;
};

}  // namespace templatefs
