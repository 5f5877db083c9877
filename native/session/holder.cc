#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>

#include "base/failure.h"
#include "control/control_server.h"
#include "control/version.h"
#include "private/settings.h"
#include "session/deadly_request.h"
#include "session/engine.h"
#include "session/errands.h"
#include "session/mount_point.h"
#include "session/upgrade_request.h"
#include "session/upgrades.h"

namespace templatefs {
namespace {

// So many workers in a row that die before they can serve: the next will not do better.
constexpr int kMaxFruitlessWorkers = 50;

// A few bytes over those that are there: on a disk without any room this still works.
Result<void> overwrite_file(int folder, const char* name, std::string_view content) {
    UniqueFd fd = TRY(open_at(folder, name, O_WRONLY));
    const ssize_t written = ::pwrite(fd.get(), content.data(), content.size(), 0);
    if (written < 0) return Errno::last();
    if (static_cast<size_t>(written) < content.size()) return Errno(ENOSPC);
    return checked_void(::ftruncate(fd.get(), written));
}

Result<void> write_state(const EngineParts& parts, pid_t worker, const StateHeader& header) {
    std::string boot = read_small_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id").ok()
                           ? read_small_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id").take()
                           : std::string("unknown\n");
    auto connection = connection_number(parts.mountpoint);
    std::string text = "holder " + std::to_string(::getpid()) + "\nworker " + std::to_string(worker) + "\nmountpoint " +
                       escape_value(parts.mountpoint) + "\nversion " + std::string(engine_version()) +
                       "\nstate " + std::string(engine_state_version()) + "\nboot " + boot + "passthrough " +
                       escape_value(passthrough_text(header)) + "\n";
    for (const IdRange& range : parts.ids.uids) text += "uid-map " + id_map_text({range});
    for (const IdRange& range : parts.ids.gids) text += "gid-map " + id_map_text({range});
    if (connection.ok()) text += "connection " + std::to_string(connection.value()) + "\n";
    auto replaced = replace_file(parts.run.get(), "engine", text, 0600, false);
    return replaced.ok() || !overwrite_file(parts.run.get(), "engine", text).ok() ? std::move(replaced) : Result<void>();
}

void remove_state(const EngineParts& parts) {
    ::unlinkat(parts.run.get(), "engine", 0);
    ::unlinkat(parts.run.get(), "control", 0);
}

// From here on nobody waits for us: what is said goes into run/<ct>/log.
void detach_from_terminal(const EngineParts& parts) {
    tell_errors_to_people(nullptr);
    int log = ::openat(parts.run.get(), "log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) {
        ::dup2(null, 0);
        ::dup2(null, 1);
        ::dup2(log >= 0 ? log : null, 2);
    }
    if (log > 2) ::close(log);
    if (null > 2) ::close(null);
}

// Waits for the first worker: true when the root is live.
bool wait_until_live(int pipe) {
    char byte;
    ssize_t size;
    do size = ::read(pipe, &byte, 1);
    while (size < 0 && errno == EINTR);
    return size == 1;
}

// The first worker serves: what it serves is shown. Returns 0, or the exit status after the error has been said.
int attach(EngineParts& parts) {
    auto attached = attach_root(parts.mount.get(), parts.ids, parts.mountpoint);
    // Whoever has this descriptor keeps the root busy.
    parts.mount.reset();
    if (attached.ok()) return 0;
    const char* what = parts.ids.empty() ? "cannot mount on %s: %s" : "cannot mount on %s with its ids mapped: %s";
    return fail(kExitNoFuse, "FUSE_UNAVAILABLE", what, parts.mountpoint.c_str(), errno_text(attached.error()));
}

// Another holder serves the root. Whoever started us in the foreground waits for the end of the mount.
int leave_to_other(const EngineParts& parts) {
    int status = 0;
    if (!parts.foreground) return 0;
    while (::waitpid(-1, &status, 0) > 0 || errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

}  // namespace

int run_holder(EngineParts& parts, UniqueFd ready) {
    ::prctl(PR_SET_NAME, "tplfs-holder");
    ::signal(SIGINT, SIG_IGN);
    ::signal(SIGHUP, SIG_IGN);
    ::signal(SIGTERM, SIG_IGN);
    ::signal(SIGPIPE, SIG_IGN);
    auto* header = static_cast<StateHeader*>(
        ::mmap(nullptr, sizeof(StateHeader), PROT_READ | PROT_WRITE, MAP_SHARED, parts.state.get(), 0));
    if (header == MAP_FAILED) return 1;

    const pid_t holder = ::getpid();
    int fruitless = 0;
    Errands errands(parts);
    Upgrades upgrades(parts);
    if (parts.takeover.socket.valid()) header->restarts++;
    for (;;) {
        int live[2];
        if (::pipe2(live, O_CLOEXEC) < 0) return 1;
        const uint64_t served_before = header->requests;
        pid_t worker = ::fork();
        if (worker == 0) {
            ::close(live[0]);
            ready.reset();
            parts.mount.reset();
            parts.command_lock.reset();
            // Should the old holder want the root back, none of ours may be left.
            if (parts.takeover.socket.valid()) ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            int status = run_worker(parts, UniqueFd(live[1]), holder);
            std::fflush(nullptr);
            ::_exit(status);
        }
        ::close(live[1]);
        if (worker < 0) {
            ::close(live[0]);
            ::sleep(1);  // no memory or no pids: clients wait until there are some
            continue;
        }
        const bool is_live = wait_until_live(live[0]);
        ::close(live[0]);
        int failed = 0;
        // Without its only mount the connection is over, and the worker ends by itself.
        if (is_live && parts.mount.valid()) failed = attach(parts);
        if (is_live && failed == 0) {
            auto written = write_state(parts, worker, *header);
            // Commands would take a root without it for one whose engine is dead, and clear it away.
            if (!written.ok() && ready.valid() && !parts.takeover.socket.valid()) {
                failed = fail(kExitFailed, failure_code(written.error(), "FAILED"), "cannot write run/%s/engine: %s", parts.container.c_str(),
                              errno_text(written.error()));
                ::umount2(parts.mountpoint.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
            }
        }
        if (is_live && failed == 0 && ready.valid()) {
            // Before the command ends: whoever reads what it says waits until nobody can say more.
            detach_from_terminal(parts);
            parts.command_lock.reset();
            char status = 0;
            (void)!::write(ready.get(), &status, 1);
            ready.reset();
        }

        if (is_live && failed == 0 && parts.takeover.socket.valid()) {
            answer_upgrade(parts.run.get(), parts.takeover.request, "");
            tell_live(parts.takeover);
        }

        const std::optional<int> ended = upgrades.wait_for(worker, errands);
        if (!ended) return leave_to_other(parts);
        const int status = *ended;
        if (failed == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0) {
            remove_state(parts);
            return 0;
        }
        if (ready.valid()) {
            // It never came up: nothing is mounted, and the command says why.
            parts.mount.reset();
            remove_state(parts);
            char code = static_cast<char>(failed != 0 ? failed : WIFEXITED(status) ? WEXITSTATUS(status) : 1);
            (void)!::write(ready.get(), &code, 1);
            return 1;
        }
        header->restarts++;
        note_end(*header, has_crashed(status));
        if (has_crashed(status) && header->deadly_count == kMaxDeaths) {
            std::fprintf(stderr, "templatefs-engine: %u workers of %s crashed at one request (opcode %u), which is answered EIO\n", kMaxDeaths,
                         parts.container.c_str(), header->serving_opcode);
        }
        // The old holder is still there, and does better.
        if (parts.takeover.socket.valid() && has_crashed(status)) return 1;
        if (upgrades.hand_back(status)) return leave_to_other(parts);
        // A worker that was ready and then killed while nobody used the root has done nothing wrong.
        fruitless = !is_live && header->requests == served_before ? fruitless + 1 : 0;
        if (fruitless > kMaxFruitlessWorkers) {
            std::fprintf(stderr, "templatefs-engine: workers of %s die without serving, giving up\n", parts.container.c_str());
            ::umount2(parts.mountpoint.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
            remove_state(parts);
            return 1;
        }
    }
}

}  // namespace templatefs
