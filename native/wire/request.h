#pragma once
// Bytes of the kernel (or of a test, or of a fuzzer) are touched only here: every read is checked against the end of
// the request, and structs are copied out, never cast in place.

#include <cstddef>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

#include "base/result.h"
#include "wire/fuse_abi.h"

namespace templatefs {

class ArgumentReader {
public:
    ArgumentReader() = default;
    explicit ArgumentReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

    // Copies the next sizeof(T) bytes out. EINVAL when there are fewer.
    template <class T>
    Result<T> take() {
        static_assert(std::is_trivially_copyable_v<T>);
        if (bytes_.size() < sizeof(T)) return Errno(EINVAL);
        T value;
        std::memcpy(&value, bytes_.data(), sizeof(T));
        bytes_ = bytes_.subspan(sizeof(T));
        return value;
    }

    // The next NUL-terminated string, without the NUL. EINVAL when there is no NUL.
    Result<std::string_view> take_string() {
        const void* end = bytes_.empty() ? nullptr : std::memchr(bytes_.data(), 0, bytes_.size());
        if (end == nullptr) return Errno(EINVAL);
        const char* begin = reinterpret_cast<const char*>(bytes_.data());
        size_t length = static_cast<size_t>(static_cast<const char*>(end) - begin);
        bytes_ = bytes_.subspan(length + 1);
        return std::string_view(begin, length);
    }

    // A file name as a container may choose it: 1 … 255 bytes, no '/', neither "." nor "..".
    // ENAMETOOLONG for longer ones, EINVAL for the others. The view is NUL-terminated in the request.
    Result<std::string_view> take_name() {
        std::string_view name = TRY(take_string());
        if (name.size() > 255) return Errno(ENAMETOOLONG);
        if (name.empty() || name == "." || name == ".." || name.find('/') != std::string_view::npos) return Errno(EINVAL);
        return name;
    }

    Result<std::span<const std::byte>> take_bytes(size_t count) {
        if (bytes_.size() < count) return Errno(EINVAL);
        auto taken = bytes_.first(count);
        bytes_ = bytes_.subspan(count);
        return taken;
    }

    size_t left() const { return bytes_.size(); }

private:
    std::span<const std::byte> bytes_;
};

struct Request {
    fuse_in_header header{};
    ArgumentReader arguments;

    uint64_t node() const { return header.nodeid; }

    // Splits one message of the device. EINVAL when it is shorter than a header or its length field differs.
    static Result<Request> parse(std::span<const std::byte> message) {
        ArgumentReader reader(message);
        Request request;
        request.header = TRY(reader.take<fuse_in_header>());
        if (request.header.len != message.size()) return Errno(EINVAL);
        request.arguments = reader;
        return request;
    }
};

}  // namespace templatefs
