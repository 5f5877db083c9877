#pragma once
// Frames of the control socket: docs/protocols/control.md.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace templatefs {

inline constexpr uint32_t kMaxFrame = 1 << 20;
inline constexpr int kControlProtocol = 1;

// Splits the body of a frame into its fields. EINVAL when it is empty or its last field has no NUL.
Result<std::vector<std::string_view>> split_fields(std::string_view body);

// Builds a frame field by field.
class FrameWriter {
public:
    FrameWriter& field(std::string_view value);
    FrameWriter& field(std::string_view key, std::string_view value);
    FrameWriter& field(std::string_view key, uint64_t value);
    // The frame with its length in front.
    std::string take();

private:
    std::string body_;
};

// Collects the bytes of one frame as they come.
class FrameReader {
public:
    enum class State { Incomplete, Complete, Refused };
    State feed(std::string_view bytes);
    std::string_view body() const { return std::string_view(data_).substr(4); }

private:
    std::string data_;
};

}  // namespace templatefs
