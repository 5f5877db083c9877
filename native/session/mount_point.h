#pragma once
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace templatefs {

// Mounts the connection `device` as type fuse.templatefs. `source` is what mount(8) and df show.
Result<void> mount_root(int device, const std::string& source, const std::string& mountpoint);

// Takes a mount away at `mountpoint` whose engine is dead (every access fails with ENOTCONN). No change otherwise.
Result<void> clear_dead_mount(const std::string& mountpoint);

// A descriptor of a read-only copy of the mount that `folder` lies on, with `folder` as its root. It is attached nowhere.
Result<UniqueFd> read_only_view(int folder);

// The device number's minor part of the mounted root: its name in /sys/fs/fuse/connections. Asks the engine nothing.
Result<unsigned> connection_number(const std::string& mountpoint);

}  // namespace templatefs
