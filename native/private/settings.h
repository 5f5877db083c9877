#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "private/id_map.h"

namespace templatefs {

// Folders whose template files are served by passthrough, without trailing '/'. Empty: none, every file can be changed
// in place while others have it open.
using SharedPaths = std::vector<std::string>;

// private/<ct>/container, as far as the engine needs it. docs/formats/private-area.md.
struct ContainerSettings {
    std::string name;
    std::string tree;                  // digest of the base tree: 64 hex digits
    std::string template_name;         // empty in a file that names none
    std::optional<SharedPaths> shared; // nullopt: what the template says
    IdMaps ids;                        // how the container's ids are shown on the host
    uint64_t quota_bytes = UINT64_MAX;   // UINT64_MAX: no limit
    uint64_t quota_inodes = UINT64_MAX;
};

// EUCLEAN when the text is no container file of version 1, or lacks a key that the engine needs.
Result<ContainerSettings> parse_settings(std::string_view text);
Result<ContainerSettings> read_settings(int area);

// The shared paths that hold for a container: its own, else its template's, else the store's, else the built-in ones.
// EUCLEAN when the record of the template or the store's `config` is broken; `broken` then names that file.
Result<SharedPaths> find_shared_paths(int store, const ContainerSettings& settings, std::string& broken);

// Whether it can name a container, and so a folder of the store: as src/core/names.ts has it.
bool is_container_name(std::string_view name);

// Values in `key value` files: bytes with '%', control characters and bytes above 0x7e written %XX.
std::string escape_value(std::string_view value);
Result<std::string> unescape_value(std::string_view value);

// Reads a whole small file (at most 1 MiB; EFBIG beyond).
Result<std::string> read_small_file(int folder, const char* name);
// Writes it aside and renames it into place; durable when `sync`.
Result<void> replace_file(int folder, const char* name, std::string_view content, mode_t mode, bool sync);

}  // namespace templatefs
