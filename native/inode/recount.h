#pragma once
#include "inode/usage.h"
#include "private/area.h"

namespace templatefs {

// What the inodes of a private area take: everything below root/ with root/ itself, and what only inodes/ names. Hard
// links count once, whiteouts not at all: there are never more of them than names in the tree, and deleting must work.
Result<UsageTotals> recount(const PrivateArea& area);

}  // namespace templatefs
