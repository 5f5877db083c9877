#pragma once
// How mount(8) calls its helpers: mount.TYPE SOURCE TARGET [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]. Reading it touches nothing.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "private/id_map.h"
#include "session/mount_options.h"

namespace templatefs {

struct HelperArguments {
    std::string container;
    std::string target;
    std::string store;            // store=; empty: TEMPLATEFS_STORE, else the default
    std::optional<IdMaps> ids;    // idmap=, uidmap=, gidmap=; empty maps: idmap=none
    std::string mount_options;    // what the engine takes: ro, nosuid, fsname=…
    std::optional<uint64_t> wait_ms;
    bool passthrough = true;
    bool remount = false;
    bool fake = false;            // -f: everything but the mount
    bool verbose = false;
    bool help = false;
};

// EINVAL when they cannot be meant; `problem` says what is wrong then.
Result<HelperArguments> parse_helper_arguments(int argc, char** argv, std::string& problem);

// The options alone. `sloppy`: unknown ones are left out. Exposed for tests.
Result<void> parse_helper_options(std::string_view list, bool sloppy, HelperArguments& arguments, std::string& problem);

}  // namespace templatefs
