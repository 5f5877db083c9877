#pragma once
// Capabilities of this process and of what it starts.

#include <cstdint>

#include "base/result.h"

namespace templatefs {

// Gives up all but those in `kept` (a bit for each, as capabilities(7) counts them), also in the bounding and the ambient set.
// For good: what is not permitted cannot be had again. Needs CAP_SETPCAP.
Result<void> limit_capabilities(uint64_t kept);

}  // namespace templatefs
