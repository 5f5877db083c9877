#pragma once
// The answer to one request, collected in a buffer that the session owns. A handler either fills it or sets an
// error; the session sends it exactly once (or not at all for FORGET).

#include <cstddef>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

#include "base/result.h"
#include "wire/fuse_abi.h"

namespace templatefs {

class Reply {
public:
    // `buffer` must have room for a header and the longest answer.
    explicit Reply(std::span<std::byte> buffer) : buffer_(buffer) {}

    void reset() {
        used_ = sizeof(fuse_out_header);
        error_ = 0;
        answered_ = false;
        later_ = false;
    }

    void fail(Errno error) {
        used_ = sizeof(fuse_out_header);
        error_ = error.value;
        answered_ = true;
    }

    void done() { answered_ = true; }

    // The answer is sent when something is done that the request waits for.
    void later() { answered_ = later_ = true; }
    bool is_later() const { return later_; }

    template <class T>
    void put(const T& value) {
        static_assert(std::is_trivially_copyable_v<T>);
        put_bytes(&value, sizeof(T));
    }

    void put_bytes(const void* data, size_t size) {
        if (size > buffer_.size() - used_) {
            fail(Errno(EIO));
            return;
        }
        if (size > 0) std::memcpy(buffer_.data() + used_, data, size);
        used_ += size;
        answered_ = true;
    }

    // Free space for a handler that writes in place (READ, READDIR, xattr values); then `grow`.
    std::span<std::byte> space() { return buffer_.subspan(used_); }
    void grow(size_t size) {
        used_ += size;
        answered_ = true;
    }

    size_t payload_size() const { return used_ - sizeof(fuse_out_header); }
    bool answered() const { return answered_; }
    int error() const { return error_; }

    // The finished message, header included.
    std::span<const std::byte> message(uint64_t unique) {
        fuse_out_header header{};
        header.len = static_cast<uint32_t>(used_);
        header.error = -error_;
        header.unique = unique;
        std::memcpy(buffer_.data(), &header, sizeof header);
        return buffer_.first(used_);
    }

private:
    std::span<std::byte> buffer_;
    size_t used_ = sizeof(fuse_out_header);
    int error_ = 0;
    bool answered_ = false;
    bool later_ = false;
};

}  // namespace templatefs
