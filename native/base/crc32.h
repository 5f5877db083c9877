#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

namespace templatefs {

// CRC-32 of IEEE 802.3, the same numbers as zlib's crc32(). `seed` is the CRC of the bytes before, so that
// crc32(b, crc32(a)) == crc32(a + b).
uint32_t crc32(std::span<const std::byte> data, uint32_t seed = 0);

}  // namespace templatefs
