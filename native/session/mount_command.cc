#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/failure.h"
#include "session/confine.h"
#include "session/engine.h"
#include "session/engine_parts_text.h"
#include "session/mount_point.h"

namespace templatefs {
namespace {

constexpr long kOverlayfsMagic = 0x794c7630;  // OVERLAYFS_SUPER_MAGIC

// The control socket is bound by a relative name from inside its folder: a socket address holds 108 bytes, a store's path may
// be longer.
Result<UniqueFd> listen_in(int folder) {
    UniqueFd socket(TRY(checked(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0))));
    UniqueFd here = TRY(open_at(AT_FDCWD, ".", O_PATH | O_DIRECTORY));
    TRY(checked_void(::fchdir(folder)));
    ::unlink("control");
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strcpy(address.sun_path, "control");
    mode_t mask = ::umask(0177);
    int bound = ::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
    Errno error = Errno::last();
    ::umask(mask);
    (void)!::fchdir(here.get());
    if (bound < 0) return error;
    TRY(checked_void(::listen(socket.get(), 16)));
    return socket;
}

Result<UniqueFd> open_or_make(int parent, const char* name, mode_t mode) {
    if (::mkdirat(parent, name, mode) < 0 && errno != EEXIST) return Errno::last();
    return open_at(parent, name, O_RDONLY | O_DIRECTORY);
}

Result<void> make_views(int area, int objects, EngineParts& parts) {
    parts.area = TRY(detached_view(area, false));
    parts.objects = TRY(detached_view(objects, true));
    parts.proc = TRY(detached_view(TRY(open_at(AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY)).get(), false));
    parts.outside = TRY(detached_view(TRY(open_or_make(parts.run.get(), "empty", 0700)).get(), false));
    int pair[2];
    TRY(checked_void(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair)));
    parts.asks = UniqueFd(pair[0]);
    parts.answers = UniqueFd(pair[1]);
    return {};
}

// Fills `parts`; returns 0, or the exit status after the error has been said.
int prepare(MountOptions& options, EngineParts& parts) {
    const char* ct = options.container.c_str();
    parts.container = options.container;
    parts.foreground = options.foreground;
    parts.flags.source = options.container;
    std::string unknown;
    if (auto parsed = parse_mount_options(options.mount_options, parts.flags, unknown); !parsed.ok())
        return fail(kExitUsage, "USAGE", "unknown mount option: %s", unknown.c_str());
    char* absolute = ::realpath(options.mountpoint.c_str(), nullptr);
    if (absolute == nullptr && errno == ENOTCONN) {
        if (auto cleared = clear_dead_mount(options.mountpoint); !cleared.ok())
            return fail(kExitFailed, failure_code(cleared.error(), "FAILED"), "cannot take the dead mount at %s away: %s", options.mountpoint.c_str(),
                        errno_text(cleared.error()));
        absolute = ::realpath(options.mountpoint.c_str(), nullptr);
    }
    if (absolute == nullptr)
        return fail(kExitFailed, failure_code(Errno::last(), "FAILED"), "no mount point %s: %s", options.mountpoint.c_str(), std::strerror(errno));
    parts.mountpoint = absolute;
    std::free(absolute);
    struct stat target;
    if (::stat(parts.mountpoint.c_str(), &target) < 0 || !S_ISDIR(target.st_mode))
        return fail(kExitUsage, "USAGE", "the mount point %s is no folder", parts.mountpoint.c_str());

    UniqueFd store(::open(options.store.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!store.valid())
        return fail(kExitFailed, failure_code(Errno::last(), "FAILED"), "cannot open the store %s: %s", options.store.c_str(), std::strerror(errno));
    char* store_path = ::realpath(options.store.c_str(), nullptr);
    parts.store_path = store_path != nullptr ? store_path : options.store;
    std::free(store_path);
    if (!is_container_name(options.container))
        return fail(kExitUsage, "USAGE", "not a container name: %s", ct);
    auto area = PrivateArea::open(store.get(), options.container);
    if (!area.ok()) {
        if (area.error_code() == ENOENT) return fail(kExitNoContainer, "CONTAINER_NOT_FOUND", "no container %s", ct);
        if (area.error_code() == EUCLEAN)
            return fail(kExitIntegrity, "INTEGRITY", "private/%s/container is broken", ct);
        return fail(kExitFailed, failure_code(area.error(), "FAILED"), "cannot open the private area of %s: %s", ct, errno_text(area.error()));
    }
    const ContainerSettings& settings = area.value().settings();
    parts.ids = options.ids ? *options.ids : settings.ids;
    std::string broken;
    auto shared = find_shared_paths(store.get(), settings, broken);
    if (!shared.ok()) {
        if (shared.error_code() == EUCLEAN)
            return fail(kExitIntegrity, "INTEGRITY", "%s in the store, which %s needs, is broken", broken.c_str(), ct);
        return fail(kExitFailed, failure_code(shared.error(), "FAILED"), "cannot read %s in the store: %s", broken.c_str(), errno_text(shared.error()));
    }
    parts.shared = shared.take();

    auto lock = options.area_lock.valid() ? Result<UniqueFd>(std::move(options.area_lock)) : area.value().lock();
    if (!lock.ok()) {
        if (lock.error_code() == EWOULDBLOCK) return fail(kExitBusy, "BUSY", "%s is mounted already", ct);
        return fail(kExitFailed, failure_code(lock.error(), "FAILED"), "cannot lock the private area of %s: %s", ct, errno_text(lock.error()));
    }
    parts.area_lock = lock.take();
    parts.command_lock = std::move(options.command_lock);

    auto trees = open_at(store.get(), "trees", O_RDONLY | O_DIRECTORY);
    auto objects = open_at(store.get(), "objects", O_RDONLY | O_DIRECTORY);
    if (!trees.ok() || !objects.ok())
        return fail(kExitIntegrity, "INTEGRITY", "the store %s has no trees/ or objects/", options.store.c_str());
    const char* digest = settings.tree.c_str();
    // O_NONBLOCK: a fifo in the place of a tree must not stop us. Mapped here only to say early, and clearly, what is wrong
    // with it; each worker maps it for itself.
    auto file = open_at(trees.value().get(), digest, O_RDONLY | O_NONBLOCK);
    auto tree = file.ok() ? TreeImage::map(file.value().get()) : Result<TreeImage>(file.error());
    if (!tree.ok()) {
        if (tree.error_code() == ENOENT)
            return fail(kExitIntegrity, "INTEGRITY", "tree %s, which %s is based on, is missing", digest, ct);
        if (tree.error_code() == EUCLEAN)
            return fail(kExitIntegrity, "BAD_TREE", "tree %s is broken (templatefs verify says more)", digest);
        return fail(kExitFailed, failure_code(tree.error(), "FAILED"), "cannot open tree %s: %s", digest, errno_text(tree.error()));
    }
    parts.tree = file.take();

    auto runs = open_or_make(store.get(), "run", 0711);
    auto run = runs.ok() ? open_or_make(runs.value().get(), ct, 0700) : Result<UniqueFd>(runs.error());
    if (!run.ok()) return fail(kExitFailed, failure_code(run.error(), "FAILED"), "cannot make run/%s: %s", ct, errno_text(run.error()));
    parts.run = run.take();
    if (auto views = make_views(area.value().base(), objects.value().get(), parts); !views.ok())
        return fail(kExitNoFuse, failure_code(views.error(), "FUSE_UNAVAILABLE"),
                    "cannot make the mounts of the private area and of objects/: %s", errno_text(views.error()));
    auto control = listen_in(parts.run.get());
    if (!control.ok()) return fail(kExitFailed, failure_code(control.error(), "FAILED"), "cannot make the control socket: %s", errno_text(control.error()));
    parts.control = control.take();

    parts.device = UniqueFd(::open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK));
    if (!parts.device.valid())
        return fail(kExitNoFuse, "FUSE_UNAVAILABLE", "cannot open /dev/fuse: %s", std::strerror(errno));
    auto state = SharedState::create();
    if (!state.ok()) return fail(kExitFailed, failure_code(state.error(), "FAILED"), "no memory for the engine's state: %s", errno_text(state.error()));
    parts.state = state.take();

    struct statfs host;
    parts.session.passthrough = options.passthrough;
    parts.whole_copy_limit = options.whole_copy_limit;
    parts.max_nodes = static_cast<uint32_t>(std::min<uint64_t>(options.max_nodes, kMaxNodes));
    if (::fstatfs(store.get(), &host) == 0 && static_cast<long>(host.f_type) == kOverlayfsMagic)
        parts.session.max_stack_depth = 2;
    return 0;
}

// What the command has open besides is none of the engine's.
void close_all_but(std::vector<int> kept) {
    std::sort(kept.begin(), kept.end());
    unsigned from = 3;
    for (int fd : kept) {
        if (fd < 3) continue;
        const auto number = static_cast<unsigned>(fd);
        if (number > from) (void)::syscall(SYS_close_range, from, number - 1, 0);
        from = number + 1;
    }
    (void)::syscall(SYS_close_range, from, ~0U, 0);
}

}  // namespace

int run_mount(MountOptions& options) {
    EngineParts parts;
    if (int status = prepare(options, parts); status != 0) return status;
    ::umask(0);

    auto mount = make_root_mount(parts.device.get(), parts.flags);
    if (!mount.ok()) {
        ::unlinkat(parts.run.get(), "control", 0);
        return fail(kExitNoFuse, "FUSE_UNAVAILABLE", "cannot mount a FUSE file system: %s", errno_text(mount.error()));
    }
    parts.mount = mount.take();
    int ready[2];
    if (::pipe2(ready, O_CLOEXEC) < 0) return fail(kExitFailed, "FAILED", "no pipe: %s", std::strerror(errno));
    if (options.foreground) {
        ::close(ready[0]);
        return run_holder(parts, UniqueFd(ready[1]));
    }
    pid_t holder = ::fork();
    if (holder < 0) return fail(kExitFailed, "FAILED", "cannot fork: %s", std::strerror(errno));
    if (holder == 0) {
        std::vector<int> kept = descriptors_of(parts);
        kept.insert(kept.end(), {parts.mount.get(), parts.command_lock.get(), ready[1]});
        close_all_but(std::move(kept));
        ::setsid();
        // The current folder would keep a file system busy.
        (void)!::chdir("/");
        ::_exit(run_holder(parts, UniqueFd(ready[1])));
    }
    ::close(ready[1]);
    char status = kExitFailed;
    ssize_t size;
    do size = ::read(ready[0], &status, 1);
    while (size < 0 && errno == EINTR);
    if (size != 1) return fail(kExitFailed, "ENGINE_FAILED", "the engine of %s died while starting", parts.container.c_str());
    return status;
}

}  // namespace templatefs
