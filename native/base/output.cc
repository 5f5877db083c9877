#include "base/output.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace templatefs {

void Output::put(char c) {
    if (used_ == sizeof buffer_ && !flush().ok()) return;
    buffer_[used_++] = c;
}

void Output::put(std::string_view text) {
    while (!text.empty()) {
        if (used_ == sizeof buffer_ && !flush().ok()) return;
        size_t part = std::min(text.size(), sizeof buffer_ - used_);
        std::memcpy(buffer_ + used_, text.data(), part);
        used_ += part;
        text.remove_prefix(part);
    }
}

void Output::put_decimal(int64_t value) {
    char digits[24];
    auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
    put(std::string_view(digits, static_cast<size_t>(end - digits)));
}

void Output::put_unsigned(uint64_t value) {
    char digits[24];
    auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
    put(std::string_view(digits, static_cast<size_t>(end - digits)));
}

void Output::put_octal(uint64_t value) {
    char digits[24];
    auto end = std::to_chars(digits, digits + sizeof digits, value, 8).ptr;
    put(std::string_view(digits, static_cast<size_t>(end - digits)));
}

void Output::put_padded(uint64_t value, unsigned width) {
    char digits[24];
    auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
    auto length = static_cast<size_t>(end - digits);
    for (size_t i = length; i < width; ++i) put('0');
    put(std::string_view(digits, length));
}

void Output::put_hex(std::string_view bytes) {
    constexpr char digits[] = "0123456789abcdef";
    for (char c : bytes) {
        auto byte = static_cast<unsigned char>(c);
        put(digits[byte >> 4]);
        put(digits[byte & 15]);
    }
}

Result<void> Output::flush() {
    size_t done = 0;
    while (error_ == 0 && done < used_) {
        ssize_t n = ::write(fd_, buffer_ + done, used_ - done);
        if (n >= 0) done += static_cast<size_t>(n);
        else if (errno != EINTR) error_ = errno;
    }
    used_ = 0;
    if (error_ != 0) return Errno(error_);
    return {};
}

}  // namespace templatefs
