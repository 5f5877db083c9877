#pragma once
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstring>

namespace templatefs {

// Reads a little-endian integer from bytes of any alignment. The caller has checked that sizeof(T) bytes are there.
template <std::integral T>
T load_le(const std::byte* from) {
    T value;
    if constexpr (std::endian::native == std::endian::little) {
        std::memcpy(&value, from, sizeof value);
    } else {
        std::byte reversed[sizeof(T)];
        for (size_t i = 0; i < sizeof(T); ++i) reversed[i] = from[sizeof(T) - 1 - i];
        std::memcpy(&value, reversed, sizeof value);
    }
    return value;
}

// Writes an integer as little-endian bytes; the caller has checked that there is room.
template <std::integral T>
void store_le(std::byte* to, T value) {
    std::memcpy(to, &value, sizeof value);
    if constexpr (std::endian::native == std::endian::big) {
        for (size_t i = 0; i < sizeof(T) / 2; ++i) {
            std::byte swapped = to[i];
            to[i] = to[sizeof(T) - 1 - i];
            to[sizeof(T) - 1 - i] = swapped;
        }
    }
}

}  // namespace templatefs
