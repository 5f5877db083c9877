#include "private/id_map.h"

#include <charconv>

namespace templatefs {
namespace {

constexpr uint64_t kLastId = 0xfffffffe;  // 2^32 - 1 stands for "no id"
constexpr size_t kMaxRanges = 340;        // UID_GID_MAP_MAX_EXTENTS, include/linux/user_namespace.h

bool overlap(uint32_t first, uint32_t first_count, uint32_t second, uint32_t second_count) {
    return uint64_t{first} < uint64_t{second} + second_count && uint64_t{second} < uint64_t{first} + first_count;
}

Result<void> check(const IdMap& map) {
    if (map.size() > kMaxRanges) return Errno(EINVAL);
    for (size_t i = 0; i < map.size(); i++) {
        for (size_t j = 0; j < i; j++) {
            if (overlap(map[i].inside, map[i].count, map[j].inside, map[j].count)) return Errno(EINVAL);
            if (overlap(map[i].outside, map[i].count, map[j].outside, map[j].count)) return Errno(EINVAL);
        }
    }
    return {};
}

}  // namespace

Result<IdRange> parse_id_range(std::string_view text) {
    uint32_t numbers[3];
    const char* at = text.data();
    const char* end = at + text.size();
    for (int i = 0; i < 3; i++) {
        if (i > 0) {
            if (at == end || (*at != ':' && *at != ' ')) return Errno(EINVAL);
            at++;
        }
        auto [after, error] = std::from_chars(at, end, numbers[i]);
        if (error != std::errc()) return Errno(EINVAL);
        at = after;
    }
    IdRange range{numbers[0], numbers[1], numbers[2]};
    if (at != end || range.count == 0) return Errno(EINVAL);
    if (uint64_t{range.inside} + range.count - 1 > kLastId || uint64_t{range.outside} + range.count - 1 > kLastId)
        return Errno(EINVAL);
    return range;
}

Result<void> check_id_maps(const IdMaps& maps) {
    if (maps.uids.empty() != maps.gids.empty()) return Errno(EINVAL);
    TRY(check(maps.uids));
    return check(maps.gids);
}

std::optional<uint32_t> id_outside(const IdMap& map, uint32_t inside) {
    if (map.empty()) return inside;
    for (const IdRange& range : map)
        if (inside >= range.inside && inside - range.inside < range.count) return range.outside + (inside - range.inside);
    return std::nullopt;
}

std::string id_map_text(const IdMap& map) {
    std::string text;
    for (const IdRange& range : map)
        text += std::to_string(range.inside) + " " + std::to_string(range.outside) + " " + std::to_string(range.count) + "\n";
    return text;
}

}  // namespace templatefs
