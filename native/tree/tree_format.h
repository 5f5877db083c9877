#pragma once
// Where things stand in a tree image; docs/formats/tree-image.md says what they mean.

#include <cstddef>
#include <cstdint>

namespace templatefs::tree_format {

constexpr char kMagic[8] = {'T', 'F', 'S', 'T', 'R', 'E', 'E', '\n'};
constexpr uint32_t kVersion = 1;
constexpr uint64_t kPageSize = 4096;
constexpr uint64_t kHeaderSize = 4096;
constexpr uint64_t kSectionAlignment = 64;
constexpr uint32_t kMaxNodeCount = (1u << 28) - 1;

namespace header {
constexpr size_t kVersionAt = 8, kFlagsAt = 12, kFileSizeAt = 16, kNodeCountAt = 24, kEntryCountAt = 28,
                 kObjectCountAt = 32, kReserved1At = 36, kNodesOffsetAt = 40, kEntriesOffsetAt = 48,
                 kObjectsOffsetAt = 56, kXattrsOffsetAt = 64, kXattrsSizeAt = 72, kStringsOffsetAt = 80,
                 kStringsSizeAt = 88, kChecksOffsetAt = 96, kContentBytesAt = 104, kRegularCountAt = 112,
                 kReserved2At = 116, kCrcAt = 124, kEnd = 128;
}  // namespace header

constexpr uint64_t kNodeSize = 64, kEntrySize = 16, kObjectSize = 32;
constexpr uint32_t kMaxNameLength = 255, kMaxTargetLength = 4095;

constexpr uint64_t align_up(uint64_t value, uint64_t alignment) { return (value + alignment - 1) / alignment * alignment; }

}  // namespace templatefs::tree_format
