#pragma once
// Mounts a container: the one way, for `templatefs mount`, for `exec` and for mount(8). All that it needs to know lies in
// private/<ct>/container, in templates/<name> and in the store's config; the catalog is not asked. docs/mount-helper.md.

#include <cstdint>
#include <string>

#include "private/id_map.h"
#include "session/engine.h"

namespace templatefs {

struct MountCommand {
    MountOptions options;      // no mount point: root/<ct> in the store, which is made
    std::string name;          // how this command is called, for those who wait for it
    bool locked = false;       // the caller holds the lock of the container's commands
    bool temporary = false;    // only for the time of an `exec`
    bool must_be_new = false;  // mounted at this place already is an error
    uint64_t wait_ms = 200;    // for other commands
};

struct MountedContainer {
    std::string mountpoint;
    bool already = false;
    IdMaps ids;
    std::string cleared;  // what was left of an earlier mount and had to be cleared away; empty: nothing
};

// Returns 0 when the root is live, or the exit status after the error has been said. In the foreground: when it is unmounted.
int mount_container(MountCommand& command, MountedContainer& mounted);

}  // namespace templatefs
