// Entries of a folder of the private area on the host.
#pragma once

#include <cerrno>
#include <string_view>

#include "inode/root.h"

namespace templatefs {

inline Place in_folder(const Folder& folder, std::string_view name) { return {folder.dir->fd.get(), name.data()}; }

// Whether a whiteout of ours lies there. Anything else there is EEXIST.
inline Result<bool> has_whiteout(Place place) {
    auto stat = host_stat(place);
    if (!stat.ok()) {
        if (stat.error_code() == ENOENT) return false;
        return stat.error();
    }
    if (!is_whiteout_device(stat.value())) return Errno(EEXIST);
    if (TRY(read_node_info(place))) return Errno(EEXIST);
    return true;
}

}  // namespace templatefs
