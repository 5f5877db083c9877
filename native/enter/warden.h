#pragma once
// The process of ours in a running container: it starts the program, adopts what that leaves, and tells its parent how it ended. It never
// becomes a program of the container, and cannot be looked into from there.

#include <linux/filter.h>
#include <sys/types.h>

#include <cstdint>
#include <vector>

#include "base/unique_fd.h"

namespace templatefs {

struct WardenOptions {
    char** program = nullptr;          // a path in the container, and its arguments
    uint64_t capabilities = 0;         // the most that the program may have
    bool no_new_privileges = false;
    std::vector<sock_filter> filter;   // empty: none
};

// Runs in a fork, and ends with it. `report`: there the status of waitpid(2) is written, and where it ends, the warden ends.
[[noreturn]] void run_warden(const WardenOptions& options, UniqueFd report);

}  // namespace templatefs
