#include "base/crc32.h"

#include <doctest/doctest.h>

#include <cstring>
#include <string_view>
#include <vector>

using namespace templatefs;

namespace {

std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

// The definition, bit by bit.
uint32_t slow_crc32(std::span<const std::byte> data) {
    uint32_t crc = 0xffffffff;
    for (std::byte byte : data) {
        crc ^= std::to_integer<uint32_t>(byte);
        for (int i = 0; i < 8; ++i) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xedb88320u : 0u);
    }
    return ~crc;
}

}  // namespace

TEST_CASE("crc32 gives zlib's numbers") {
    CHECK(crc32({}) == 0);
    CHECK(crc32(bytes("123456789")) == 0xcbf43926);
    CHECK(crc32(bytes("The quick brown fox jumps over the lazy dog")) == 0x414fa339);
    std::vector<std::byte> zeros(4096);
    CHECK(crc32(zeros) == 0xc71c0011);
}

TEST_CASE("crc32 agrees with the definition at every length and alignment, and goes on from a seed") {
    std::vector<std::byte> data(300);
    for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * 167 + 13);
    for (size_t from = 0; from < 9; ++from) {
        for (size_t length = 0; from + length <= 80; ++length) {
            std::span part(data.data() + from, length);
            REQUIRE(crc32(part) == slow_crc32(part));
        }
    }
    for (size_t cut = 0; cut <= data.size(); ++cut) {
        std::span all(data);
        REQUIRE(crc32(all.subspan(cut), crc32(all.first(cut))) == slow_crc32(all));
    }
}
