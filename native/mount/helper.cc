#include "mount/helper.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "base/failure.h"
#include "mount/helper_arguments.h"
#include "mount/mount_container.h"
#include "mount/remount.h"

namespace templatefs {
namespace {

// mount(8), EXIT STATUS.
constexpr int kMountUsage = 1;
constexpr int kMountFailure = 32;

constexpr char kDefaultStore[] = "/var/lib/templatefs";

int exit_status(int status) { return status == 0 ? 0 : status == kExitUsage ? kMountUsage : kMountFailure; }

std::string store_of(const HelperArguments& arguments) {
    if (!arguments.store.empty()) return arguments.store;
    const char* named = ::getenv("TEMPLATEFS_STORE");
    return named != nullptr && *named != '\0' ? named : kDefaultStore;
}

const char* name_of(const char* path) {
    const std::string_view program = path;
    return path + (program.rfind('/') == std::string_view::npos ? 0 : program.rfind('/') + 1);
}

int print_help(const char* program) {
    std::printf("Mounts a container of templatefs; started by mount(8).\n\n"
                "  mount -t fuse.templatefs [-o OPTIONS] CT DIR      %s CT DIR [-sfnv] [-o OPTIONS]\n\n"
                "  store=DIR                the store (else $TEMPLATEFS_STORE, else %s)\n"
                "  idmap=C:H:N[+C:H:N]...   ids C and up in the container are H and up on the host; idmap=none: not at all\n"
                "  uidmap=, gidmap=         the same for users and for groups only\n"
                "  wait=SECONDS             wait for other commands on the container\n"
                "  nopassthrough            reads and writes go through the engine\n"
                "  remount                  change ro, rw, nosuid, noatime, … of what is mounted at DIR\n"
                "  ro, nosuid, nodev, noexec, noatime, fsname=NAME, … as for any file system\n",
                program, kDefaultStore);
    return 0;
}

int mount_or_remount(const char* program, const HelperArguments& arguments) {
    if (arguments.remount) return arguments.fake ? 0 : remount_root(arguments.target, arguments.mount_options);
    MountCommand command;
    command.options.store = store_of(arguments);
    command.options.container = arguments.container;
    command.options.mountpoint = arguments.target;
    command.options.ids = arguments.ids;
    command.options.mount_options = arguments.mount_options;
    command.options.passthrough = arguments.passthrough;
    command.name = std::string(program) + " " + arguments.container + " " + arguments.target;
    command.must_be_new = true;
    if (arguments.wait_ms) command.wait_ms = *arguments.wait_ms;
    if (arguments.fake) return 0;
    MountedContainer mounted;
    const int status = mount_container(command, mounted);
    if (status == 0 && !mounted.cleared.empty())
        std::fprintf(stderr, "%s: cleared away what was left of an earlier mount of %s: %s\n", program, command.options.container.c_str(),
                     mounted.cleared.c_str());
    if (status == 0 && arguments.verbose) std::printf("%s: %s mounted on %s\n", program, command.options.container.c_str(), mounted.mountpoint.c_str());
    return status;
}

}  // namespace

bool is_mount_helper(std::string_view program) {
    const size_t slash = program.rfind('/');
    const std::string_view name = program.substr(slash == std::string_view::npos ? 0 : slash + 1);
    return name == "mount.templatefs" || name == "mount.fuse.templatefs";
}

int run_mount_helper(int argc, char** argv) {
    const char* program = name_of(argv[0]);
    tell_errors_to_people(program);
    // What mount(8) was started with besides the three is none of the engine's.
    (void)::syscall(SYS_close_range, 3, ~0U, 0);
    std::string problem;
    auto arguments = parse_helper_arguments(argc, argv, problem);
    if (!arguments.ok()) return exit_status(fail(kExitUsage, "USAGE", "%s", problem.c_str()));
    if (arguments.value().help) return print_help(program);
    if (::geteuid() != 0) return exit_status(fail(kExitUsage, "USAGE", "only root can mount a container"));
    return exit_status(mount_or_remount(program, arguments.value()));
}

}  // namespace templatefs
