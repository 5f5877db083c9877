#pragma once
#include <span>
#include <string>
#include <string_view>

#include "inode/root.h"

namespace templatefs {

// The reply to `merge`: docs/protocols/control.md. Does as many entries as the time allows, at least a part of one.
std::string answer_merge(Root& root, std::span<const std::string_view> fields);

}  // namespace templatefs
