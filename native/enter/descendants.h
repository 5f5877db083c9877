#pragma once
// Kills all that a process has started, directly or by others, as long as it adopts what its children leave (PR_SET_CHILD_SUBREAPER).

#include <sys/types.h>

#include <cstdint>
#include <vector>

#include "base/result.h"

namespace templatefs {

// The processes below `ancestor` that have not ended. `proc` is a folder of /proc of this process's pid namespace.
Result<std::vector<pid_t>> descendants_of(int proc, pid_t ancestor);

// Until there are none, for at most `patience_ms`. ETIMEDOUT when some are left.
Result<void> kill_descendants(int proc, pid_t ancestor, uint64_t patience_ms);

}  // namespace templatefs
