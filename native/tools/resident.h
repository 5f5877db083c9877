#pragma once
#include <cstdint>

#include "base/result.h"

namespace templatefs {

// `resident`: see docs/protocols/control.md. `argv` holds the arguments after the verb (there are none).
int run_resident(int argc, char** argv);

// Bytes of a regular file that the page cache holds, in whole pages but never more than the file's size rounded up to
// pages. EINVAL when it is no regular file. Follows no symlink in the last component.
Result<uint64_t> resident_bytes(const char* path);

// The two ways, for tests. `size` is the file's size.
Result<uint64_t> resident_by_cachestat(int fd, uint64_t size);
Result<uint64_t> resident_by_mincore(int fd, uint64_t size);

}  // namespace templatefs
