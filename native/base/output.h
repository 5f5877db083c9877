#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace templatefs {

// A buffered writer for results on stdout. The first error is kept: what is written after it is dropped, and flush()
// returns it.
class Output {
public:
    explicit Output(int fd) : fd_(fd) {}
    Output(const Output&) = delete;
    Output& operator=(const Output&) = delete;

    void put(char c);
    void put(std::string_view text);
    void put_decimal(int64_t value);
    void put_unsigned(uint64_t value);
    void put_octal(uint64_t value);
    // `width` digits, zero-filled.
    void put_padded(uint64_t value, unsigned width);
    void put_hex(std::string_view bytes);
    // Writes what is buffered; the destructor does not, because nobody would see the error.
    Result<void> flush();

private:
    int fd_;
    int error_ = 0;
    size_t used_ = 0;
    char buffer_[64 * 1024];
};

}  // namespace templatefs
