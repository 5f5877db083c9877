#pragma once
// A container that runs: its first process, found by the control plane, and what the kernel says about it.

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"

namespace templatefs {

struct RunningContainer {
    UniqueFd process;  // a pidfd: the number may be somebody else's by now, this is not
    UniqueFd root;     // its root folder, as it sees it
    int namespaces = 0;            // CLONE_NEW…: those that are not this process's own
    uint64_t capabilities = 0;     // its bounding set: what programs in the container can have
    bool no_new_privileges = false;
    bool has_user_namespace = false;
    uid_t root_uid = 0;            // of the container's root, on the host
    gid_t root_gid = 0;
};

// What of /proc/PID/status matters. Exposed for tests.
struct ProcessStatus {
    uint64_t bounding_set = 0;
    bool no_new_privileges = false;
    bool is_first = false;  // of a pid namespace below the reader's
};
// EUCLEAN when a line is missing.
Result<ProcessStatus> parse_process_status(std::string_view text);

// Looks at a process that is said to be the first one of the container whose root is mounted at `root`. ESRCH when it has ended, is not
// the first of a pid namespace, or its root is another one.
Result<RunningContainer> open_running(const std::string& root, pid_t pid);

// Joins its namespaces, with its root as root and current folder, and as its root user; new processes are in its pid namespace. This
// process must have one thread.
Result<void> join(const RunningContainer& container);

}  // namespace templatefs
