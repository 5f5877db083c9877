#include "mount/engine_file.h"

#include <charconv>

#include "private/settings.h"

namespace templatefs {
namespace {

template <class Number>
std::optional<Number> whole_number(std::string_view text) {
    Number number{};
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
    if (text.empty() || parsed.ec != std::errc() || parsed.ptr != text.data() + text.size()) return std::nullopt;
    return number;
}

}  // namespace

Result<EngineFile> parse_engine_file(std::string_view text) {
    EngineFile engine;
    while (!text.empty()) {
        const size_t end = text.find('\n');
        if (end == std::string_view::npos) return Errno(EUCLEAN);
        const std::string_view line = text.substr(0, end);
        text.remove_prefix(end + 1);
        const size_t space = line.find(' ');
        if (space == std::string_view::npos) return Errno(EUCLEAN);
        const std::string_view key = line.substr(0, space);
        std::string value = TRY(unescape_value(line.substr(space + 1)));
        if (key == "holder") engine.holder = whole_number<pid_t>(value).value_or(0);
        else if (key == "worker") engine.worker = whole_number<pid_t>(value).value_or(0);
        else if (key == "mountpoint") engine.mountpoint = std::move(value);
        else if (key == "boot") engine.boot = std::move(value);
        else if (key == "connection") engine.connection = whole_number<uint32_t>(value);
        else if (key == "uid-map" || key == "gid-map") {
            auto range = parse_id_range(value);
            if (range.ok()) (key == "uid-map" ? engine.ids.uids : engine.ids.gids).push_back(range.value());
        }
    }
    // 1 is no engine's: whoever wrote that wants us to look at, or wait for, the system itself.
    if (engine.holder < 2 || !engine.mountpoint.starts_with('/') || engine.boot.empty()) return Errno(EUCLEAN);
    if (engine.mountpoint.find('\0') != std::string::npos) return Errno(EUCLEAN);
    if (!check_id_maps(engine.ids).ok()) engine.ids = {};
    return engine;
}

}  // namespace templatefs
