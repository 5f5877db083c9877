#pragma once
// How user and group ids of a container are shown on the host: what a user namespace has in uid_map and gid_map.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace templatefs {

// `count` ids from `inside` (as the container and the private area have them) are `outside` and up on the host.
struct IdRange {
    uint32_t inside;
    uint32_t outside;
    uint32_t count;
};

using IdMap = std::vector<IdRange>;

// Empty maps: ids are the same on both sides. Else both maps have a range.
struct IdMaps {
    IdMap uids;
    IdMap gids;

    bool empty() const { return uids.empty() && gids.empty(); }
};

// Three decimal numbers with ':' or ' ' between them, as podman and uid_map(5) have them. EINVAL for anything else, also
// for a range that is empty or goes beyond 2^32 - 2.
Result<IdRange> parse_id_range(std::string_view text);

// EINVAL when ranges of one map overlap on either side, when there are more than the kernel takes (340), or when only
// one of the two maps has ranges.
Result<void> check_id_maps(const IdMaps& maps);

// The id on the host; nullopt when the map has none. An empty map changes nothing.
std::optional<uint32_t> id_outside(const IdMap& map, uint32_t inside);

// The text of a map as /proc/PID/uid_map takes it.
std::string id_map_text(const IdMap& map);

}  // namespace templatefs
