#include "session/engine_parts_text.h"

#include <fcntl.h>

#include <charconv>

namespace templatefs {
namespace {

struct NamedDescriptor {
    const char* name;
    UniqueFd EngineParts::*member;
};

constexpr NamedDescriptor kDescriptors[] = {
    {"area-lock", &EngineParts::area_lock}, {"area", &EngineParts::area},       {"objects", &EngineParts::objects},
    {"tree", &EngineParts::tree},           {"outside", &EngineParts::outside}, {"proc", &EngineParts::proc},
    {"device", &EngineParts::device},       {"state", &EngineParts::state},     {"control", &EngineParts::control},
    {"asks", &EngineParts::asks},           {"run", &EngineParts::run},         {"answers", &EngineParts::answers},
};

struct NamedText {
    const char* name;
    std::string EngineParts::*member;
};

constexpr NamedText kTexts[] = {
    {"store", &EngineParts::store_path},
    {"container", &EngineParts::container},
    {"mountpoint", &EngineParts::mountpoint},
};

template <class Number>
Result<Number> parse_decimal(std::string_view text) {
    Number number{};
    auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
    if (text.empty() || parsed.ec != std::errc() || parsed.ptr != text.data() + text.size()) return Errno(EINVAL);
    return number;
}

Result<bool> parse_yes(std::string_view text) {
    if (text != "yes" && text != "no") return Errno(EINVAL);
    return text == "yes";
}

// `NAME NUMBER`
Result<void> take_descriptor(std::string_view value, EngineParts& parts) {
    const size_t space = value.find(' ');
    if (space == std::string_view::npos) return Errno(EINVAL);
    const std::string_view name = value.substr(0, space);
    const int fd = TRY(parse_decimal<int>(value.substr(space + 1)));
    UniqueFd* to = nullptr;
    for (const NamedDescriptor& known : kDescriptors)
        if (name == known.name) to = &(parts.*known.member);
    if (name == "handover") to = &parts.takeover.socket;
    if (name == "previous") to = &parts.takeover.previous;
    if (to == nullptr || to->valid() || fd < 3) return Errno(EINVAL);
    TRY(checked_void(::fcntl(fd, F_SETFD, FD_CLOEXEC)));
    to->reset(fd);
    return {};
}

Result<void> take_line(std::string_view key, std::string value, EngineParts& parts) {
    if (key == "descriptor") return take_descriptor(value, parts);
    for (const NamedText& known : kTexts) {
        if (key != known.name) continue;
        if (value.empty() || !(parts.*known.member).empty()) return Errno(EINVAL);
        parts.*known.member = std::move(value);
        return {};
    }
    if (key == "request") parts.takeover.request = std::move(value);
    else if (key == "shared") parts.shared.push_back(std::move(value));
    else if (key == "uid-map") parts.ids.uids.push_back(TRY(parse_id_range(value)));
    else if (key == "gid-map") parts.ids.gids.push_back(TRY(parse_id_range(value)));
    else if (key == "passthrough") parts.session.passthrough = TRY(parse_yes(value));
    else if (key == "stack-depth") parts.session.max_stack_depth = TRY(parse_decimal<uint32_t>(value));
    else if (key == "whole-copy-limit") parts.whole_copy_limit = TRY(parse_decimal<uint64_t>(value));
    else if (key == "max-nodes") parts.max_nodes = TRY(parse_decimal<uint32_t>(value));
    else if (key == "foreground") parts.foreground = TRY(parse_yes(value));
    else return Errno(EINVAL);
    return {};
}

}  // namespace

std::string describe_parts(const EngineParts& parts) {
    std::string text;
    const auto line = [&text](const char* key, std::string_view value) { text.append(key).append(" ").append(escape_value(value)).append("\n"); };
    for (const NamedDescriptor& known : kDescriptors)
        line("descriptor", std::string(known.name) + " " + std::to_string((parts.*known.member).get()));
    for (const NamedText& known : kTexts) line(known.name, parts.*known.member);
    for (const std::string& path : parts.shared) line("shared", path);
    const auto range_lines = [&line](const char* key, const IdMap& map) {
        for (const IdRange& range : map)
            line(key, std::to_string(range.inside) + " " + std::to_string(range.outside) + " " + std::to_string(range.count));
    };
    range_lines("uid-map", parts.ids.uids);
    range_lines("gid-map", parts.ids.gids);
    line("passthrough", parts.session.passthrough ? "yes" : "no");
    line("stack-depth", std::to_string(parts.session.max_stack_depth));
    line("whole-copy-limit", std::to_string(parts.whole_copy_limit));
    line("max-nodes", std::to_string(parts.max_nodes));
    line("foreground", parts.foreground ? "yes" : "no");
    return text;
}

std::vector<int> descriptors_of(const EngineParts& parts) {
    std::vector<int> found;
    for (const NamedDescriptor& known : kDescriptors) found.push_back((parts.*known.member).get());
    return found;
}

Result<void> parse_parts(std::string_view text, EngineParts& parts) {
    while (!text.empty()) {
        const size_t end = text.find('\n');
        if (end == std::string_view::npos) return Errno(EINVAL);
        const std::string_view line = text.substr(0, end);
        text.remove_prefix(end + 1);
        const size_t space = line.find(' ');
        if (space == std::string_view::npos) return Errno(EINVAL);
        auto value = unescape_value(line.substr(space + 1));
        if (!value.ok()) return Errno(EINVAL);
        TRY(take_line(line.substr(0, space), value.take(), parts));
    }
    for (const NamedDescriptor& known : kDescriptors)
        if (!(parts.*known.member).valid()) return Errno(EINVAL);
    for (const NamedText& known : kTexts)
        if ((parts.*known.member).empty()) return Errno(EINVAL);
    return check_id_maps(parts.ids);
}

}  // namespace templatefs
