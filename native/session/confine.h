#pragma once
// What a worker may do: only what serving its root takes.
//
// A worker parses what a container sends, so it is built as if it could be taken over. Before it reads the first message it
// gives up everything else that root may do: it sees no file system but the container's own private area (its root
// folder), the objects (through a read-only mount) and /proc (its current folder); all of them are mounts of their own,
// from which no ".." leads out. It keeps the capabilities that work on files takes, and can make only the system calls on
// the list in confine.cc; no others of the host's root's powers, which its capabilities would give, can be reached.
// docs/security.md.

#include "base/result.h"
#include "base/unique_fd.h"

namespace templatefs {

// A mount of its own of `folder`, in no namespace: its ".." is itself. Read-only if so wanted.
Result<UniqueFd> detached_view(int folder, bool read_only);

// Makes `root` the root folder and `proc` the current one. Both are views as above.
Result<void> enter_view(int root, int proc);

// Gives up capabilities and sets no_new_privs.
Result<void> drop_privileges();

// From here on only the listed system calls can be made; all others fail with EPERM.
Result<void> filter_system_calls();

}  // namespace templatefs
