#pragma once
// What is mounted where: proc_pid_mountinfo(5), and statx(2) where that is enough. A table of thousands of mounts takes longer to
// read than a root to mount, so it is read only when something is in the way.

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace templatefs {

struct MountEntry {
    uint32_t minor = 0;  // of its device; file systems without a block device have major 0
    std::string mountpoint;
    std::string type;
};

inline constexpr std::string_view kRootType = "fuse.templatefs";

// The mount on top at `mountpoint`; lines of a form that is not known are left out.
std::optional<MountEntry> mount_on_top(std::string_view table, std::string_view mountpoint);
// The first mount of an engine's root that has this device.
std::optional<MountEntry> root_with_device(std::string_view table, uint32_t minor);

// The table of this process's mount namespace, or of another process's.
Result<std::string> read_mount_table(const std::string& process = "self");

// Something is mounted at this very path. Asks no file system anything, and sets off no automount.
bool is_mount_root(const std::string& path);
// The same, with this device.
bool is_mount_root_of(const std::string& path, uint32_t minor);

}  // namespace templatefs
