#pragma once
// What is there of a container's engine when somebody wants to mount it, and how it is cleared away. The caller holds the lock of the
// container's commands.
//
// Whoever serves a private area holds the flock of private/<ct>/lock. So whoever gets that lock knows that no engine is left, whatever
// its files and mounts say; and whoever does not, that there is one, even if it has lost its mount.

#include <optional>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "mount/engine_file.h"

namespace templatefs {

// The places of one container that matter here.
struct ContainerPlaces {
    int store = -1;            // the store's folder
    int area = -1;             // private/<ct>/
    std::string container;
    std::string default_root;  // absolute path of root/<ct>
};

struct FoundEngine {
    enum class State { Mounted, MountedElsewhere, None, Lost };
    State state = State::None;
    UniqueFd area_lock;                // None: nobody else can serve the area
    std::optional<EngineFile> engine;  // what its file says, if it can be read
    std::string mountpoint;            // Mounted, MountedElsewhere: where
    std::string left;                  // None, Lost: why something must be cleared away first; empty: nothing is left
};

// Waits half a second for an engine that is just starting or ending.
Result<FoundEngine> find_engine(const ContainerPlaces& places);

// Takes away the mounts, the socket and the files that a dead engine left, and ends one that lost its mount. From then on
// `found.area_lock` is held. ETIMEDOUT when it does not end within a minute.
Result<void> clear_left(const ContainerPlaces& places, FoundEngine& found);

// Removes run/<ct>/ with all that is in it.
Result<void> remove_run_folder(const ContainerPlaces& places);

}  // namespace templatefs
