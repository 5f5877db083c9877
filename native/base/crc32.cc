// Slice-by-8: eight bytes a step through eight tables, about 2 µs a 4 KiB page. A page of a tree image is checked once,
// at its first use, so this is not worth a version for each CPU.

#include "base/crc32.h"

#include <array>

#include "base/little_endian.h"

namespace templatefs {
namespace {

using Table = std::array<uint32_t, 256>;

constexpr std::array<Table, 8> make_tables() {
    constexpr uint32_t reversed_polynomial = 0xedb88320;
    std::array<Table, 8> tables{};
    for (uint32_t byte = 0; byte < 256; ++byte) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? reversed_polynomial : 0);
        tables[0][byte] = crc;
    }
    for (size_t slice = 1; slice < tables.size(); ++slice) {
        for (size_t byte = 0; byte < 256; ++byte) {
            uint32_t before = tables[slice - 1][byte];
            tables[slice][byte] = (before >> 8) ^ tables[0][before & 0xff];
        }
    }
    return tables;
}

constexpr std::array<Table, 8> kTables = make_tables();

}  // namespace

uint32_t crc32(std::span<const std::byte> data, uint32_t seed) {
    const std::byte* at = data.data();
    size_t left = data.size();
    uint32_t crc = ~seed;
    for (; left >= 8; left -= 8, at += 8) {
        uint32_t low = load_le<uint32_t>(at) ^ crc;
        uint32_t high = load_le<uint32_t>(at + 4);
        crc = kTables[7][low & 0xff] ^ kTables[6][(low >> 8) & 0xff] ^ kTables[5][(low >> 16) & 0xff] ^
              kTables[4][low >> 24] ^ kTables[3][high & 0xff] ^ kTables[2][(high >> 8) & 0xff] ^
              kTables[1][(high >> 16) & 0xff] ^ kTables[0][high >> 24];
    }
    for (; left > 0; --left, ++at) crc = (crc >> 8) ^ kTables[0][(crc ^ std::to_integer<uint32_t>(*at)) & 0xff];
    return ~crc;
}

}  // namespace templatefs
