#include "control/frame.h"

#include "base/little_endian.h"

namespace templatefs {

Result<std::vector<std::string_view>> split_fields(std::string_view body) {
    if (body.empty() || body.back() != '\0') return Errno(EINVAL);
    std::vector<std::string_view> fields;
    while (!body.empty()) {
        size_t end = body.find('\0');
        fields.push_back(body.substr(0, end));
        body.remove_prefix(end + 1);
    }
    return fields;
}

FrameWriter& FrameWriter::field(std::string_view value) {
    body_.append(value);
    body_.push_back('\0');
    return *this;
}

FrameWriter& FrameWriter::field(std::string_view key, std::string_view value) {
    body_.append(key);
    body_.push_back('=');
    return field(value);
}

FrameWriter& FrameWriter::field(std::string_view key, uint64_t value) { return field(key, std::to_string(value)); }

std::string FrameWriter::take() {
    std::string frame(4, '\0');
    store_le<uint32_t>(reinterpret_cast<std::byte*>(frame.data()), static_cast<uint32_t>(body_.size()));
    frame += body_;
    body_.clear();
    return frame;
}

FrameReader::State FrameReader::feed(std::string_view bytes) {
    data_.append(bytes);
    if (data_.size() < 4) return State::Incomplete;
    uint32_t length = load_le<uint32_t>(reinterpret_cast<const std::byte*>(data_.data()));
    if (length == 0 || length > kMaxFrame || data_.size() > size_t{4} + length) return State::Refused;
    return data_.size() == size_t{4} + length ? State::Complete : State::Incomplete;
}

}  // namespace templatefs
