#pragma once
// The options of `mount -o` that a root takes, as mount(8) names them.

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace templatefs {

struct MountFlags {
    std::string source;       // fsname=: what mount(8) and df show as device
    uint64_t attributes = 0;  // MOUNT_ATTR_*, of the mount
    bool read_only = false;   // of the file system, so that no other mount of it can write either
    bool synchronous = false;
    bool dirsync = false;
};

// Reads a comma-separated list; of options that contradict one another the last one counts. EINVAL for an option that is
// not known, which `unknown` then names.
Result<void> parse_mount_options(std::string_view list, MountFlags& flags, std::string& unknown);

}  // namespace templatefs
