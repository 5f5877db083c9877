#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace templatefs {

// private/<ct>/container, as far as the engine needs it. docs/formats/private-area.md.
struct ContainerSettings {
    std::string name;
    std::string tree;                  // digest of the base tree: 64 hex digits
    std::vector<std::string> shared;   // folders whose template files are served by passthrough, without trailing '/'
    uint64_t quota_bytes = UINT64_MAX;   // UINT64_MAX: no limit
    uint64_t quota_inodes = UINT64_MAX;
};

// EUCLEAN when the text is no container file of version 1, or lacks a key that the engine needs.
Result<ContainerSettings> parse_settings(std::string_view text);
Result<ContainerSettings> read_settings(int area);

// Values in `key value` files: bytes with '%', control characters and bytes above 0x7e written %XX.
std::string escape_value(std::string_view value);
Result<std::string> unescape_value(std::string_view value);

// Reads a whole small file (at most 1 MiB; EFBIG beyond).
Result<std::string> read_small_file(int folder, const char* name);
// Writes it aside and renames it into place; durable when `sync`.
Result<void> replace_file(int folder, const char* name, std::string_view content, mode_t mode, bool sync);

}  // namespace templatefs
