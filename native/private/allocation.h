#pragma once
#include <cstdint>

#include "base/result.h"

namespace templatefs {

// How many bytes of [offset, offset + length) can be written from its start before more than `room` bytes of blocks of
// `block` bytes are newly allocated. Blocks that the file has already, also by fallocate(2) and not written yet, cost
// nothing. By FIEMAP; where a file system has none, by SEEK_DATA, which takes preallocated space for holes.
Result<uint64_t> writable_prefix(int fd, uint64_t offset, uint64_t length, uint64_t block, uint64_t room);

// Gives back what XFS allocated ahead, beyond the end of the file; not what fallocate(2) was asked for. Times stay.
void release_ahead(int fd, uint64_t block);

}  // namespace templatefs
