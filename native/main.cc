// The engine's command line: docs/protocols/control.md.

#include <cstdio>
#include <cstring>

#include "base/failure.h"
#include "control/frame.h"
#include "session/engine.h"
#include "tools/area.h"
#include "tools/dump.h"
#include "tools/options.h"
#include "tools/resident.h"
#include "tools/scan.h"
#include "tools/syncfs.h"

namespace templatefs {
namespace {

int run_mount_command(int argc, char** argv) {
    Options options(argc, argv);
    MountOptions mount;
    bool complete = options.value("--store", mount.store) && options.value("--container", mount.container) &&
                    options.value("--mountpoint", mount.mountpoint);
    mount.passthrough = !options.flag("--no-passthrough");
    mount.foreground = options.flag("--foreground");
    if (!options.number("--whole-copy-limit", mount.whole_copy_limit)) complete = false;
    if (!complete || options.rest() != nullptr)
        return fail(kExitUsage, "USAGE", "mount --store DIR --container CT --mountpoint DIR [--no-passthrough] "
                    "[--foreground] [--whole-copy-limit BYTES]");
    return run_mount(mount);
}

struct Verb {
    const char* name;
    int (*run)(int argc, char** argv);
};

constexpr Verb kVerbs[] = {
    {"mount", run_mount_command}, {"scan", run_scan},     {"resident", run_resident},
    {"dump", run_dump},           {"syncfs", run_syncfs}, {"area", run_area},
};

int run(int argc, char** argv) {
    if (argc < 2) return fail(kExitUsage, "USAGE", "no verb; docs/protocols/control.md lists them");
    if (std::strcmp(argv[1], "--version") == 0) {
        std::printf("templatefs-engine %s protocol %d tree 1 private 1\n", TEMPLATEFS_VERSION, kControlProtocol);
        return 0;
    }
    for (const Verb& verb : kVerbs)
        if (std::strcmp(argv[1], verb.name) == 0) return verb.run(argc - 2, argv + 2);
    return fail(kExitUsage, "USAGE", "unknown verb %s", argv[1]);
}

}  // namespace
}  // namespace templatefs

int main(int argc, char** argv) { return templatefs::run(argc, argv); }
