#pragma once
#include "inode/root.h"
#include "wire/reply.h"

namespace templatefs {

// The engine is the only writer of a root, so what the kernel knows stays true: no time limit. Attributes of a file that
// is open for writing are the exception, because stores through mmap change mtime without a request; and those of a file
// for which the kernel has two inodes, because it notes a change in the one through which it was made.
inline constexpr uint64_t kForever = 1ULL << 30;  // seconds

fuse_attr to_fuse_attr(const Attributes& attributes);
uint64_t attribute_seconds(Root& root, const File& file);

// The entry of a file with its attributes; counts the look-up that the kernel will note.
Result<fuse_entry_out> make_entry(Root& root, const File& file, const HostStat* known = nullptr);
Result<void> put_entry(Root& root, Reply& reply, const File& file, const HostStat* known = nullptr);
Result<void> put_attributes(Root& root, Reply& reply, const File& file);

}  // namespace templatefs
