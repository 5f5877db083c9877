#pragma once
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "private/id_map.h"
#include "session/mount_options.h"

namespace templatefs {

// A mount of the connection `device`, type fuse.templatefs, that is attached nowhere yet. The kernel sends FUSE_INIT.
Result<UniqueFd> make_root_mount(int device, const MountFlags& flags);

// Shows the root at `mountpoint`, with its ids mapped. Only when the engine has answered FUSE_INIT: until then the kernel does
// not know whether ids may be mapped. So nobody ever sees the root without its map, or one that does not answer.
Result<void> attach_root(int mount, const IdMaps& ids, const std::string& mountpoint);

// Whether what is mounted at `mountpoint` has lost its engine. Asks a live engine.
bool is_dead_mount(const std::string& mountpoint);

// Takes a mount away at `mountpoint` whose engine is dead (every access fails with ENOTCONN). No change otherwise.
Result<void> clear_dead_mount(const std::string& mountpoint);

// The device number's minor part of the mounted root: its name in /sys/fs/fuse/connections. Asks the engine nothing.
Result<unsigned> connection_number(const std::string& mountpoint);

}  // namespace templatefs
