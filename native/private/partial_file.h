#pragma once
// A file of which only the changed blocks are its own: block-wise copy-up.
//
// The host file starts as one hole of the object's size. A block that the container writes becomes data of the host file,
// filled up from the object where the write does not cover it; what is still a hole shows the object. So the file
// system's own map of holes says which blocks are whose, and it is as safe against crashes and power loss as that: a block
// whose data did not reach the disk is a hole again, and shows the object's bytes, as if it had not been written.
// docs/formats/private-area.md, docs/decisions/0003-block-wise-copy-up.md.

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.h"

namespace templatefs {

struct PartialFile {
    int own;         // the host file, open for reading and, for changes, writing
    int object;      // open for reading
    uint64_t shown;  // so many bytes of the object, from its start, show through holes; behind them holes are zeros
    uint32_t block;  // bytes that become the file's own at once: a power of two, no less than the host's block
};

// The descriptor of an inode on a host that tells holes from data: SEEK_DATA finds nothing in it yet.
bool is_one_hole(int own);

// Makes every block whose data never reached the disk a true hole: after a power loss the host may have blocks that are
// allocated and unwritten. They are holes for SEEK_DATA only as long as nothing brings them into the page cache. To be
// called before the first read of a file that another engine has written to. Only blocks that begin below `shown` matter.
// True when there were any: then mtime and file capabilities have changed.
Result<bool> drop_unwritten(int own, uint64_t shown);

// Bytes read: fewer than asked for only at the end of the file.
Result<size_t> read_partial(const PartialFile& file, std::span<std::byte> to, uint64_t offset);

// Bytes written, at least one: fewer than asked for when the host had no room for all.
Result<size_t> write_partial(const PartialFile& file, std::span<const std::byte> from, uint64_t offset);

// Zeros from `offset` to `end`, which is no more than `shown`; the size stays.
Result<void> write_zeros(const PartialFile& file, uint64_t offset, uint64_t end);

// lseek(2) with SEEK_DATA or SEEK_HOLE.
Result<uint64_t> seek_partial(const PartialFile& file, uint64_t offset, int whence);

// Whether nothing of the object shows any more.
Result<bool> is_whole(const PartialFile& file);

}  // namespace templatefs
