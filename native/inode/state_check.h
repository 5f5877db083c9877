#pragma once
// What a worker looks at before it trusts the state that its predecessor left: every offset, slot and length in it must
// lead to a place within it, every chain must end, and no name may lead out of a folder. A state that breaks a rule is
// EUCLEAN, and the holder says so; nothing of it is followed. Costs one pass over the nodes.

#include "inode/shared_state.h"

namespace templatefs {

// Before the undo log is used.
Result<void> check_header(const StateHeader& header, size_t mapped_size);
// After it was rolled back.
Result<void> check_tables(const SharedState& state, size_t mapped_size);

}  // namespace templatefs
