// The engine's command line: docs/protocols/control.md.

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/failure.h"
#include "control/version.h"
#include "enter/enter_command.h"
#include "mount/helper.h"
#include "mount/mount_container.h"
#include "private/settings.h"
#include "session/engine.h"
#include "session/handover.h"
#include "session/user_namespace.h"
#include "tools/area.h"
#include "tools/dump.h"
#include "tools/options.h"
#include "tools/resident.h"
#include "tools/scan.h"
#include "tools/settled.h"
#include "tools/syncfs.h"

namespace templatefs {
namespace {

// `--uid-map` and `--gid-map`, each any number of times, or `--no-idmap`; nullopt when there is none of them.
int take_id_maps(Options& options, std::optional<IdMaps>& ids) {
    if (options.flag("--no-idmap")) ids.emplace();
    IdMaps given;
    for (auto [name, map] : {std::pair("--uid-map", &given.uids), std::pair("--gid-map", &given.gids)}) {
        for (std::string text; options.value(name, text);) {
            auto range = parse_id_range(text);
            if (!range.ok()) return fail(kExitUsage, "USAGE", "not a range of ids: %s", text.c_str());
            map->push_back(range.value());
        }
    }
    if (given.empty()) return 0;
    if (ids || !check_id_maps(given).ok()) return fail(kExitUsage, "USAGE", "the maps of ids are incomplete, or ranges overlap");
    ids = std::move(given);
    return 0;
}

// `key value` lines for the control plane.
void print_report(const MountedContainer& mounted) {
    std::string text = "mountpoint " + escape_value(mounted.mountpoint) + "\nalready " + (mounted.already ? "yes" : "no") + "\n";
    if (!mounted.cleared.empty()) text += "cleared " + escape_value(mounted.cleared) + "\n";
    for (const IdRange& range : mounted.ids.uids) text += "uid-map " + id_map_text({range});
    for (const IdRange& range : mounted.ids.gids) text += "gid-map " + id_map_text({range});
    std::fputs(text.c_str(), stdout);
}

int run_mount_command(int argc, char** argv) {
    // What the command was started with besides the three is none of the engine's.
    (void)::syscall(SYS_close_range, 3, ~0U, 0);
    Options options(argc, argv);
    MountCommand command;
    MountOptions& mount = command.options;
    bool complete = options.value("--store", mount.store) && options.value("--container", mount.container);
    (void)options.value("--mountpoint", mount.mountpoint);
    if (int status = take_id_maps(options, mount.ids); status != 0) return status;
    (void)options.value("--options", mount.mount_options);
    mount.passthrough = !options.flag("--no-passthrough");
    mount.foreground = options.flag("--foreground");
    if (!options.number("--whole-copy-limit", mount.whole_copy_limit)) complete = false;
    if (!options.number("--max-nodes", mount.max_nodes)) complete = false;
    command.name = "templatefs-engine mount " + mount.container;
    command.locked = options.flag("--locked");
    command.temporary = options.flag("--temporary");
    const bool report = options.flag("--report");
    if (!complete || options.rest() != nullptr)
        return fail(kExitUsage, "USAGE",
                    "mount --store DIR --container CT [--mountpoint DIR] [--options LIST] [--uid-map I:O:N]... [--gid-map I:O:N]..."
                    " [--no-idmap] [--no-passthrough] [--foreground] [--whole-copy-limit BYTES] [--max-nodes N] [--locked] [--temporary]"
                    " [--report]");
    MountedContainer mounted;
    const int status = mount_container(command, mounted);
    if (status == 0 && report) print_report(mounted);
    return status;
}

// Runs a program with a descriptor of a user namespace that has these maps.
int run_userns_command(int argc, char** argv) {
    int end = 0;
    while (end < argc && std::strcmp(argv[end], "--") != 0) end++;
    Options options(end, argv);
    std::string number;
    std::optional<IdMaps> ids;
    const bool has_fd = options.value("--fd", number);
    if (int status = take_id_maps(options, ids); status != 0) return status;
    const int fd = std::atoi(number.c_str());
    if (!has_fd || fd < 3 || fd > 255 || !ids || ids->empty() || options.rest() != nullptr || end + 1 >= argc)
        return fail(kExitUsage, "USAGE", "userns --fd N --uid-map I:O:N... --gid-map I:O:N... -- PROGRAM [ARGUMENT]...");
    auto users = make_user_namespace(*ids);
    if (!users.ok()) return fail(kExitFailed, "FAILED", "cannot make a user namespace: %s", errno_text(users.error()));
    // The program inherits it: no close-on-exec.
    if (users.value().get() == fd) {
        ::fcntl(fd, F_SETFD, 0);
        (void)users.value().release();
    } else if (::dup2(users.value().get(), fd) < 0) {
        return fail(kExitFailed, "FAILED", "no descriptor %d: %s", fd, std::strerror(errno));
    }
    ::execv(argv[end + 1], argv + end + 1);
    return fail(kExitFailed, "FAILED", "cannot start %s: %s", argv[end + 1], std::strerror(errno));
}

int run_resume_command(int argc, char** argv) {
    Options options(argc, argv);
    std::string store, container;
    uint64_t parts = 0;
    // The first two are for people who look at the list of processes.
    (void)options.value("--store", store);
    (void)options.value("--container", container);
    if (!options.number("--parts", parts) || parts < 3 || parts > 1'000'000 || options.rest() != nullptr)
        return fail(kExitUsage, "USAGE", "resume --store DIR --container CT --parts N: only engines that hand a root over use it");
    return run_resume(UniqueFd(static_cast<int>(parts)));
}

struct Verb {
    const char* name;
    int (*run)(int argc, char** argv);
};

constexpr Verb kVerbs[] = {
    {"mount", run_mount_command}, {"scan", run_scan},     {"resident", run_resident},
    {"dump", run_dump},           {"syncfs", run_syncfs}, {"area", run_area},
    {"userns", run_userns_command}, {"resume", run_resume_command}, {"enter", run_enter}, {"settled", run_settled},
};

int run(int argc, char** argv) {
    if (argc < 2) return fail(kExitUsage, "USAGE", "no verb; docs/protocols/control.md lists them");
    if (std::strcmp(argv[1], "--version") == 0) {
        std::printf("%s\n", version_line().data());
        return 0;
    }
    for (const Verb& verb : kVerbs)
        if (std::strcmp(argv[1], verb.name) == 0) return verb.run(argc - 2, argv + 2);
    return fail(kExitUsage, "USAGE", "unknown verb %s", argv[1]);
}

}  // namespace
}  // namespace templatefs

int main(int argc, char** argv) {
    if (argc > 0 && templatefs::is_mount_helper(argv[0])) return templatefs::run_mount_helper(argc, argv);
    return templatefs::run(argc, argv);
}
