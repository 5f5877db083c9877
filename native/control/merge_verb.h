#pragma once
#include <span>
#include <string>
#include <string_view>

#include "inode/root.h"

namespace templatefs {

// The reply to `merge`: docs/protocols/control.md. Does as many entries as the time allows, at least a part of one; more than that
// while `waiting`, a descriptor, is not readable.
std::string answer_merge(Root& root, std::span<const std::string_view> fields, int waiting = -1);

}  // namespace templatefs
