#include "mount/helper_arguments.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "private/settings.h"

namespace templatefs {
namespace {

// What mount(8) acts on itself and passes on all the same, and what /proc/mounts shows of every root, which a remount repeats.
constexpr std::string_view kIgnored[] = {
    "auto",   "noauto",  "user",     "nouser",   "users",      "nousers",    "owner",       "noowner",             "group",
    "nogroup", "nofail", "_netdev",  "allow_other", "default_permissions", "user_id=0", "group_id=0", "subtype=templatefs", "idmapped",
};
constexpr std::string_view kIgnoredPrefixes[] = {"x-", "X-", "comment=", "user=", "uhelper=", "helper="};

bool is_ignored(std::string_view option) {
    return std::find(std::begin(kIgnored), std::end(kIgnored), option) != std::end(kIgnored) ||
           std::any_of(std::begin(kIgnoredPrefixes), std::end(kIgnoredPrefixes),
                       [option](std::string_view prefix) { return option.starts_with(prefix); });
}

// Seconds, at most a day, with up to three decimals.
std::optional<uint64_t> parse_wait(std::string_view text) {
    const size_t point = std::min(text.find('.'), text.size());
    uint64_t seconds = 0;
    auto parsed = std::from_chars(text.data(), text.data() + point, seconds);
    if (parsed.ec != std::errc() || parsed.ptr != text.data() + point || seconds > 86'400) return std::nullopt;
    uint64_t ms = seconds * 1000;
    if (point == text.size()) return ms;
    const std::string_view decimals = text.substr(point + 1);
    if (decimals.empty() || decimals.size() > 3) return std::nullopt;
    uint64_t unit = 100;
    for (char c : decimals) {
        if (c < '0' || c > '9') return std::nullopt;
        ms += static_cast<uint64_t>(c - '0') * unit;
        unit /= 10;
    }
    return ms;
}

// Ranges I:O:N with '+' between them: a comma would end the option. Newer versions of mount(8) keep only one option of a name.
bool take_ranges(std::string_view text, IdMap& map) {
    while (!text.empty()) {
        const std::string_view one = text.substr(0, text.find('+'));
        auto range = parse_id_range(one);
        if (!range.ok()) return false;
        map.push_back(range.value());
        text.remove_prefix(std::min(text.size(), one.size() + 1));
    }
    return true;
}

struct Maps {
    IdMap both, uids, gids;
    bool none = false;
};

// Puts together what the options said; false when they contradict one another.
bool settle_maps(Maps& maps, std::optional<IdMaps>& ids) {
    const bool parts = !maps.uids.empty() || !maps.gids.empty();
    if (maps.none || !maps.both.empty()) {
        if (parts || (maps.none && !maps.both.empty())) return false;
        ids = IdMaps{maps.both, maps.both};
    } else if (parts) {
        // As with `templatefs mount`, one of the two alone counts for both.
        ids = IdMaps{maps.uids.empty() ? maps.gids : maps.uids, maps.gids.empty() ? maps.uids : maps.gids};
    } else {
        return true;
    }
    return check_id_maps(*ids).ok();
}

enum class Took { Yes, No, Bad };

Took take_own_option(std::string_view option, HelperArguments& arguments, Maps& maps) {
    const auto value_of = [option](std::string_view name) { return option.substr(name.size()); };
    const auto done = [](bool good) { return good ? Took::Yes : Took::Bad; };
    if (option == "remount") return done(arguments.remount = true);
    if (option == "nopassthrough") return done(!(arguments.passthrough = false));
    if (option.starts_with("store=")) return done(!(arguments.store = value_of("store=")).empty());
    if (option.starts_with("wait=")) return done((arguments.wait_ms = parse_wait(value_of("wait="))).has_value());
    if (option == "idmap=none") return done(maps.none = true);
    for (auto [name, map] : {std::pair(std::string_view("idmap="), &maps.both), std::pair(std::string_view("uidmap="), &maps.uids),
                             std::pair(std::string_view("gidmap="), &maps.gids)})
        if (option.starts_with(name)) return done(option.size() > name.size() && take_ranges(value_of(name), *map));
    return Took::No;
}

// A path in the place of the source: mount(8) makes one of a word when there happens to be a file of that name in the current
// folder. No container's name has a slash.
std::string container_of(std::string_view source) {
    const size_t slash = source.rfind('/');
    return std::string(slash == std::string_view::npos ? source : source.substr(slash + 1));
}

}  // namespace

Result<void> parse_helper_options(std::string_view list, bool sloppy, HelperArguments& arguments, std::string& problem) {
    const auto refuse = [&problem](std::string_view what, std::string_view option) {
        problem = std::string(what) + " " + std::string(option);
        return Errno(EINVAL);
    };
    Maps maps;
    MountFlags flags;
    std::string unknown;
    while (!list.empty()) {
        const std::string_view option = list.substr(0, list.find(','));
        list.remove_prefix(std::min(list.size(), option.size() + 1));
        if (option.empty() || is_ignored(option)) continue;
        switch (take_own_option(option, arguments, maps)) {
            case Took::Yes:
                continue;
            case Took::Bad:
                return refuse("not a valid option:", option);
            case Took::No:
                break;
        }
        if (!parse_mount_options(option, flags, unknown).ok()) {
            if (sloppy) continue;
            return refuse("unknown mount option:", option);
        }
        if (!arguments.mount_options.empty()) arguments.mount_options += ',';
        arguments.mount_options += option;
    }
    if (!settle_maps(maps, arguments.ids)) return refuse("the maps of ids are incomplete, contradict one another, or ranges overlap", "");
    return {};
}

Result<HelperArguments> parse_helper_arguments(int argc, char** argv, std::string& problem) {
    HelperArguments arguments;
    std::string options;
    int words = 0;
    bool sloppy = false;
    const auto refuse = [&problem](std::string why) {
        problem = std::move(why);
        return Errno(EINVAL);
    };
    for (int i = 1; i < argc; i++) {
        const std::string_view word = argv[i];
        if (word == "--help") {
            arguments.help = true;
        } else if (word.size() > 1 && word[0] == '-') {
            for (char letter : word.substr(1)) {
                const bool takes_value = letter == 'o' || letter == 't' || letter == 'N';
                // A value is the next word, as mount(8) writes it.
                if (takes_value && (letter != word.back() || i + 1 >= argc)) return refuse(std::string("no value for -") + letter);
                if (letter == 'o') (options += ',') += argv[++i];
                else if (letter == 't') {
                    const std::string_view type = argv[++i];
                    if (type != "fuse.templatefs" && type != "templatefs") return refuse("not a type of this helper: " + std::string(type));
                } else if (letter == 'N') return refuse("-N is not supported: enter the mount namespace first, with nsenter --mount");
                else if (letter == 's') sloppy = true;
                else if (letter == 'f') arguments.fake = true;
                else if (letter == 'v') arguments.verbose = true;
                else if (letter == 'h') arguments.help = true;
                else if (letter != 'n') return refuse(std::string("unknown option -") + letter);
            }
        } else if (words++ == 0) {
            arguments.container = container_of(word);
        } else if (words == 2) {
            arguments.target = word;
        }
    }
    if (arguments.help) return arguments;
    if (words != 2 || arguments.container.empty() || arguments.target.empty()) return refuse("a container and a mount point are needed");
    if (!parse_helper_options(options, sloppy, arguments, problem).ok()) return Errno(EINVAL);
    // A remount is about what is mounted at the target; /proc/mounts names its source, which fsname= may have set.
    if (!arguments.remount && !is_container_name(arguments.container)) return refuse("not a container name: " + arguments.container);
    return arguments;
}

}  // namespace templatefs
