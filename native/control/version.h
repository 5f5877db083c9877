#pragma once
#include <string_view>

namespace templatefs {

// What `--version` prints: this engine's version, then the numbers of what it speaks, reads and keeps.
std::string_view version_line();

// The version alone.
std::string_view engine_version();

// The form of the state that it keeps and can take over: docs/protocols/handover.md.
std::string_view engine_state_version();

}  // namespace templatefs
