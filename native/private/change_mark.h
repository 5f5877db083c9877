#pragma once
// How a later look at a private area knows that no content in it has changed: docs/formats/private-area.md, `changes`.

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"

namespace templatefs {

struct ChangeMark {
    uint64_t id = 0;        // random: of an unbroken row of engines
    uint64_t sequence = 0;  // raised whenever content may change
    std::string text() const;
};

// By the folder private/<ct>. nullopt when there is none, or none that can be believed.
Result<std::optional<ChangeMark>> read_change_mark(int base);
// At a clean stop, when everything else is durable.
Result<void> store_change_mark(int base, const ChangeMark& mark);
// Durably: before anything changes that it says is as it was.
Result<void> remove_change_mark(int base);

}  // namespace templatefs
