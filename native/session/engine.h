#pragma once
// The processes of one engine.
//
// `mount` prepares everything and forks the holder, which keeps what must outlive a worker (the /dev/fuse descriptor, the
// shared state, the lock, the control socket) and does what the worker may not do, or not wait for, itself: it unmounts,
// and has the kernel drop pages of inodes whose content was found broken. The holder forks the worker, which serves the
// root. When a worker dies, the holder forks another, which asks the kernel for the unanswered requests and goes on.

#include <optional>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "private/settings.h"
#include "session/mount_options.h"
#include "session/session.h"

namespace templatefs {

struct MountOptions {
    std::string store;
    std::string container;
    std::string mountpoint;
    std::optional<IdMaps> ids;   // in place of those of the container's settings
    std::string mount_options;   // as after `mount -o`
    bool passthrough = true;
    bool foreground = false;
    uint64_t whole_copy_limit = kWholeCopyLimit;
    uint64_t max_nodes = kMaxNodes;
    UniqueFd area_lock;     // of the private area, if the caller has it already
    UniqueFd command_lock;  // of the container's commands: kept until the root is live, or will not be
};

// Of a holder that has taken the root over from another: docs/protocols/handover.md.
struct Takeover {
    UniqueFd socket;      // to the old holder, until the first worker serves
    UniqueFd previous;    // its executable, to go back to
    std::string request;  // whoever asked for it; empty: nobody
};

// What holder and worker share, all of it opened before the first fork. Views are mounts of their own (confine.h).
struct EngineParts {
    UniqueFd area_lock;
    UniqueFd area;     // view of private/<ct>/
    UniqueFd objects;  // read-only view
    UniqueFd tree;     // the image
    UniqueFd outside;  // view of an empty folder of the store
    UniqueFd proc;     // view of /proc
    UniqueFd device;
    UniqueFd state;
    UniqueFd control;
    UniqueFd asks;     // the worker's end of the pair by which it asks the holder
    // The holder's own.
    UniqueFd run;      // run/<ct>/
    UniqueFd answers;  // its end of that pair
    UniqueFd mount;    // until the root is attached
    UniqueFd command_lock;  // until it is live
    std::string store_path;
    std::string container;
    std::string mountpoint;
    SharedPaths shared;  // they hold until the unmount, whatever becomes of the settings
    IdMaps ids;
    MountFlags flags;
    SessionOptions session;
    uint64_t whole_copy_limit = kWholeCopyLimit;
    uint32_t max_nodes = kMaxNodes;
    bool foreground = false;
    Takeover takeover;
};

// Mounts and goes to the background; returns the exit status of the command. In the foreground the engine keeps whatever else is open.
int run_mount(MountOptions& options);

// The holder's life: forks workers until one ends because the root is unmounted. `ready` gets one byte, the exit status of
// the command, as soon as the first worker serves or has failed; it is not open when the root was taken over.
int run_holder(EngineParts& parts, UniqueFd ready);

// The worker's life: it gives up all that it does not need, then serves. `ready` gets a byte once the root is live. Returns the exit status: 0 after an unmount.
int run_worker(EngineParts& parts, UniqueFd ready, int64_t holder);

}  // namespace templatefs
