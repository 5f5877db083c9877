#pragma once
// What one holder tells another that takes its root over: docs/protocols/handover.md.

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "session/engine.h"

namespace templatefs {

// All lines but those of the descriptors `handover` and `previous`.
std::string describe_parts(const EngineParts& parts);

// The descriptors that `describe_parts` names.
std::vector<int> descriptors_of(const EngineParts& parts);

// Takes over the descriptors that the text names; each is close-on-exec from then on. EINVAL for a text of another form or
// one that lacks something, EBADF for a number that is no open descriptor.
Result<void> parse_parts(std::string_view text, EngineParts& parts);

}  // namespace templatefs
