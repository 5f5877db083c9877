#pragma once
// `upgrade` and `upgraded` in run/<ct>/: docs/protocols/handover.md.

#include <string>
#include <string_view>

#include "base/result.h"

namespace templatefs {

struct UpgradeRequest {
    std::string id;
    std::string engine;  // absolute path
};

// EINVAL for a text of another form.
Result<UpgradeRequest> parse_upgrade_request(std::string_view text);

// Reads the request and removes it. ENOENT when there is none.
Result<UpgradeRequest> take_upgrade_request(int run);

// `why` is empty when it is done.
void answer_upgrade(int run, const std::string& id, const std::string& why);

}  // namespace templatefs
