#pragma once
#include <optional>
#include <string_view>

#include "tree/tree_image.h"

namespace templatefs {

// 32 hex digits, and `.VARIANT` if that is not 0. The size stays 0.
std::optional<ObjectRef> parse_object(std::string_view text);

}  // namespace templatefs
