#pragma once
// A copy of one private area, for snapshots and clones: docs/snapshots.md.
//
// Links stay links and holes stay holes, so it costs what the area has entries, and beyond that only content that is the
// area's own: cloned where the file system can, else copied. Inode numbers stay, and with them which names are hard links
// of one another. Files that are open without a name are left out, as at the next start of an engine.

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "private/area.h"
#include "private/area_entries.h"
#include "private/host.h"
#include "private/node_xattr.h"

namespace templatefs {

struct AreaCopyTotals {
    uint64_t entries = 0;   // names, whiteouts too
    uint64_t links = 0;     // inodes whose content is an object
    uint64_t contents = 0;  // inodes with content of their own
    uint64_t bytes = 0;     // of those contents, as far as they are no holes
    bool cloned = false;    // by reflink
};

class AreaCopy {
public:
    // `to` is an empty folder. Nothing may change in `from` until copy_entries() has returned.
    AreaCopy(const PrivateArea& from, int to) : from_(from), to_(to) {}

    // Everything but the contents that take long. Then `from` may change again.
    Result<void> copy_entries();
    // The rest: of a file that is written to meanwhile it has what it finds, as a copy by any program would.
    Result<void> copy_late_contents();

    const AreaCopyTotals& totals() const { return totals_; }
    // Where it was when it failed, from the area's folder.
    std::string place() const { return path_ + (name_.empty() ? "" : "/" + name_); }

private:
    // A folder on the way down; its metadata comes when all is in it.
    struct Level {
        std::string name;
        HostStat stat;
        std::vector<std::string> folders;
    };
    struct LateContent {
        UniqueFd from, to;
        NodeInfo info;
        std::vector<Xattr> xattrs;
        std::string path;
    };

    Result<void> copy_indexed();
    Result<void> copy_root();
    Result<Level> copy_level(int from, int to, std::string name, const HostStat& stat);
    Result<void> end_level(int from, int to, const HostStat& stat);
    Result<void> copy_entry(Place from, Place to, const HostStat& stat);
    Result<void> copy_inode(Place from, Place to, const HostStat& stat, bool indexed);
    Result<void> copy_regular(Place from, Place to, const HostStat& stat, bool indexed);
    Result<void> copy_special(Place from, Place to, const HostStat& stat, const std::vector<Xattr>& xattrs);
    Result<bool> clone_content(int from, int to, const HostStat& stat);
    Result<void> copy_content(int from, int to, const HostStat& stat, bool partial);
    Result<void> dress(int from, int to, const HostStat& stat, const std::vector<Xattr>& xattrs);

    const PrivateArea& from_;
    int to_;
    UniqueFd to_inodes_;
    // Inodes of inodes/ by their number on the host: other names of them become hard links.
    std::unordered_map<uint64_t, std::string> indexed_;
    std::vector<LateContent> late_;
    AreaCopyTotals totals_;
    bool can_clone_ = true;
    XattrReader xattrs_;
    std::string path_, name_;
};

}  // namespace templatefs
