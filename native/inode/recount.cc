#include "inode/recount.h"

#include <dirent.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <unordered_set>
#include <vector>

#include "private/node_xattr.h"

namespace templatefs {
namespace {

class Recount {
public:
    // Depth first with one descriptor, however deep a container has nested its folders: down by name, up by "..", which
    // nobody but the engine could move meanwhile.
    Result<void> walk(int top) {
        UniqueFd fd = TRY(open_at(top, ".", O_RDONLY | O_DIRECTORY));
        std::vector<std::vector<std::string>> pending;
        pending.push_back(TRY(folder(fd.get())));
        while (!pending.empty()) {
            if (pending.back().empty()) {
                pending.pop_back();
                if (!pending.empty()) fd = TRY(open_at(fd.get(), "..", O_RDONLY | O_DIRECTORY));
                continue;
            }
            std::string name = std::move(pending.back().back());
            pending.back().pop_back();
            fd = TRY(open_at(fd.get(), name.c_str(), O_RDONLY | O_DIRECTORY));
            pending.push_back(TRY(folder(fd.get())));
        }
        return {};
    }

    // Counts the entries of a folder. Returns its subfolders.
    Result<std::vector<std::string>> folder(int fd) {
        std::vector<std::string> subfolders;
        alignas(8) char buffer[16384];
        for (;;) {
            long size = ::syscall(SYS_getdents64, fd, buffer, sizeof buffer);
            if (size < 0) return Errno::last();
            if (size == 0) return subfolders;
            for (long at = 0; at < size;) {
                const auto* entry = reinterpret_cast<const dirent64*>(buffer + at);
                at += entry->d_reclen;
                if (std::strcmp(entry->d_name, ".") == 0 || std::strcmp(entry->d_name, "..") == 0) continue;
                Place place{fd, entry->d_name};
                HostStat stat = TRY(host_stat(place));
                if (is_whiteout_device(stat) && !TRY(read_node_info(place))) continue;
                const bool is_folder = S_ISDIR(stat.stx_mode);
                if (!is_folder && stat.stx_nlink > 1 && !linked_.insert(stat.stx_ino).second) continue;
                add(stat);
                if (is_folder) subfolders.emplace_back(entry->d_name);
            }
        }
    }

    void add(const HostStat& stat) {
        totals_.inodes++;
        totals_.bytes += allocated_bytes(stat);
    }
    const UsageTotals& totals() const { return totals_; }

private:
    UsageTotals totals_;
    std::unordered_set<uint64_t> linked_;  // host inode numbers
};

}  // namespace

Result<UsageTotals> recount(const PrivateArea& area) {
    Recount count;
    count.add(TRY(host_stat({area.root(), "."})));
    TRY(count.walk(area.root()));
    UniqueFd inodes = TRY(open_at(area.inodes(), ".", O_RDONLY | O_DIRECTORY));
    (void)TRY(count.folder(inodes.get()));
    return count.totals();
}

}  // namespace templatefs
