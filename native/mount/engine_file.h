#pragma once
// `run/<ct>/engine`: what a running engine says about itself. docs/protocols/control.md.

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "private/id_map.h"

namespace templatefs {

struct EngineFile {
    pid_t holder = 0;
    pid_t worker = 0;  // 0: not known
    std::string mountpoint;
    std::string boot;
    std::optional<uint32_t> connection;  // minor device number of its root
    IdMaps ids;
};

// Lines that are not known are left out. EUCLEAN for a text that names no holder, mount point and boot.
Result<EngineFile> parse_engine_file(std::string_view text);

}  // namespace templatefs
