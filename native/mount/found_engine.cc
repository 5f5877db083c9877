#include "mount/found_engine.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <ctime>

#include "control/engine_request.h"
#include "mount/mount_table.h"
#include "mount/process_identity.h"
#include "private/area.h"
#include "private/settings.h"
#include "session/mount_point.h"

namespace templatefs {
namespace {

constexpr int64_t kSettleMs = 500;
constexpr int64_t kEndMs = 60'000;
constexpr int kStatusMs = 2'000;
constexpr useconds_t kPollUs = 2'000;

int64_t now_ms() {
    timespec now;
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1'000'000;
}

Result<UniqueFd> open_run(const ContainerPlaces& places) {
    UniqueFd runs = TRY(open_at(places.store, "run", O_RDONLY | O_DIRECTORY));
    return open_at(runs.get(), places.container.c_str(), O_RDONLY | O_DIRECTORY);
}

struct EngineFiles {
    bool file = false;  // run/<ct>/engine is there
    bool socket = false;
    std::optional<EngineFile> engine;
};

Result<EngineFiles> read_engine_files(const ContainerPlaces& places) {
    EngineFiles files;
    auto run = open_run(places);
    if (!run.ok()) {
        if (run.error_code() == ENOENT || run.error_code() == ENOTDIR) return files;
        return run.error();
    }
    auto text = read_small_file(run.value().get(), "engine");
    files.file = text.ok() || text.error_code() != ENOENT;
    if (text.ok()) {
        if (auto engine = parse_engine_file(text.value()); engine.ok()) files.engine = engine.take();
    }
    files.socket = ::faccessat(run.value().get(), "control", F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    return files;
}

// Where the root of an engine that lives is mounted; nullopt when it is nowhere.
std::optional<std::string> where_mounted(const EngineFile& engine, bool& here) {
    if (!engine.connection) return std::nullopt;
    here = is_mount_root_of(engine.mountpoint, *engine.connection);
    if (here) return engine.mountpoint;
    // Moved, mounted a second time, or in the holder's mount namespace and not in ours.
    for (const std::string& process : {std::string("self"), std::to_string(engine.holder)}) {
        auto table = read_mount_table(process);
        if (!table.ok()) continue;
        if (auto entry = root_with_device(table.value(), *engine.connection)) return entry->mountpoint;
    }
    return std::nullopt;
}

// Why what is left of an engine that is gone must be cleared away; empty when nothing is.
std::string reason_of(const ContainerPlaces& places, const EngineFiles& files) {
    if (files.file && !files.engine) return "its engine file cannot be read";
    if (files.engine && files.engine->boot != boot_id()) return "the host was restarted";
    if (files.engine) return "its engine (pid " + std::to_string(files.engine->holder) + ") is gone";
    if (is_mount_root(places.default_root)) return "its root is mounted, but no engine says that it serves it";
    if (files.socket) return "a socket is left without an engine";
    return {};
}

// Detaches what is mounted at `path` and has lost its engine, however often.
Result<void> detach_dead(const std::string& path) {
    while (is_mount_root(path) && is_dead_mount(path)) TRY(checked_void(::umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW)));
    return {};
}

// Of an engine that lives: its root where its file says, if it is that root.
void detach_own(const EngineFile& engine) {
    if (!engine.connection || engine.boot != boot_id()) return;
    while (is_mount_root_of(engine.mountpoint, *engine.connection))
        if (::umount2(engine.mountpoint.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) < 0) return;
}

// A worker whose holder is gone: a copy of its mount in another mount namespace could keep it alive for ever.
void end_orphan(const ContainerPlaces& places, const EngineFile& engine) {
    if (engine.boot != boot_id() || has_engine_name(engine.holder)) return;
    UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, engine.worker, 0)));
    if (!process.valid() || process_name(engine.worker) != "tplfs-worker") return;
    // It has made the container's private area its root folder: no other process has.
    struct stat area;
    struct stat root;
    const std::string path = "/proc/" + std::to_string(engine.worker) + "/root";
    if (::fstat(places.area, &area) < 0 || ::stat(path.c_str(), &root) < 0) return;
    if (area.st_dev == root.st_dev && area.st_ino == root.st_ino) (void)::syscall(SYS_pidfd_send_signal, process.get(), SIGKILL, nullptr, 0);
}

Result<UniqueFd> wait_for_lock(int area, int64_t wait_ms) {
    const int64_t deadline = now_ms() + wait_ms;
    for (;;) {
        auto lock = lock_area(area);
        if (lock.ok() || lock.error_code() != EWOULDBLOCK) return lock;
        if (now_ms() >= deadline) return Errno(ETIMEDOUT);
        ::usleep(kPollUs);
    }
}

}  // namespace

Result<FoundEngine> find_engine(const ContainerPlaces& places) {
    const int64_t deadline = now_ms() + kSettleMs;
    for (;;) {
        FoundEngine found;
        auto lock = lock_area(places.area);
        if (!lock.ok() && lock.error_code() != EWOULDBLOCK) return lock.error();
        const EngineFiles files = TRY(read_engine_files(places));
        found.engine = files.engine;
        if (lock.ok()) {
            found.area_lock = lock.take();
            found.left = reason_of(places, files);
            return found;
        }
        if (files.engine && files.engine->boot == boot_id() && has_engine_name(files.engine->holder)) {
            bool here = false;
            if (auto at = where_mounted(*files.engine, here)) {
                found.mountpoint = *at;
                found.state = here ? FoundEngine::State::Mounted : FoundEngine::State::MountedElsewhere;
                return found;
            }
        }
        if (now_ms() >= deadline) {
            found.state = FoundEngine::State::Lost;
            found.left = !files.engine                             ? "an engine serves it, and does not say where"
                         : has_engine_name(files.engine->holder) ? "nothing is mounted at " + files.engine->mountpoint
                                                                   : "its engine (pid " + std::to_string(files.engine->holder) + ") is gone";
            return found;
        }
        ::usleep(kPollUs);
    }
}

Result<void> clear_left(const ContainerPlaces& places, FoundEngine& found) {
    if (found.state == FoundEngine::State::Lost) {
        if (found.engine) detach_own(*found.engine);
        if (found.engine) end_orphan(places, *found.engine);
        if (auto run = open_run(places); run.ok()) {
            // Whether it answers or not: what counts is whether it ends.
            if (ask_engine(run.value().get(), {"status"}, kStatusMs).ok())
                (void)ask_engine(run.value().get(), {"stop", "force"}, static_cast<int>(kEndMs)).ok();
        }
        found.area_lock = TRY(wait_for_lock(places.area, kEndMs));
    }
    TRY(detach_dead(places.default_root));
    if (found.engine && found.engine->boot == boot_id()) TRY(detach_dead(found.engine->mountpoint));
    found.state = FoundEngine::State::None;
    return remove_run_folder(places);
}

Result<void> remove_run_folder(const ContainerPlaces& places) {
    auto runs = open_at(places.store, "run", O_RDONLY | O_DIRECTORY);
    if (!runs.ok()) return {};
    return remove_tree({runs.value().get(), places.container.c_str()});
}

}  // namespace templatefs
