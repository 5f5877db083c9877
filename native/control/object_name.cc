#include "control/object_name.h"

namespace templatefs {

std::optional<ObjectRef> parse_object(std::string_view text) {
    ObjectRef object{};
    if (text.size() < 32) return std::nullopt;
    for (size_t i = 0; i < 32; i++) {
        const char c = text[i];
        const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0) return std::nullopt;
        object.hash[i / 2] = static_cast<uint8_t>(object.hash[i / 2] << 4 | digit);
    }
    if (text.size() == 32) return object;
    const std::string_view variant = text.substr(33);
    if (text[32] != '.' || variant.empty() || variant.size() > 10 || variant[0] == '0') return std::nullopt;
    uint64_t number = 0;
    for (char c : variant) {
        if (c < '0' || c > '9') return std::nullopt;
        number = number * 10 + static_cast<uint64_t>(c - '0');
    }
    if (number > UINT32_MAX) return std::nullopt;
    object.variant = static_cast<uint32_t>(number);
    return object;
}

}  // namespace templatefs
