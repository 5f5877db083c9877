#include <poll.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <span>
#include <vector>

#include "base/failure.h"
#include "control/control_server.h"
#include "private/settings.h"
#include "session/engine.h"
#include "session/mount_point.h"
#include "wire/fuse_abi.h"

namespace templatefs {
namespace {

// So many workers in a row that die before they can serve: the next will not do better.
constexpr int kMaxFruitlessWorkers = 50;

void write_state(const EngineParts& parts, pid_t worker, const StateHeader& header) {
    std::string boot = read_small_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id").ok()
                           ? read_small_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id").take()
                           : std::string("unknown\n");
    auto connection = connection_number(parts.mountpoint);
    std::string text = "holder " + std::to_string(::getpid()) + "\nworker " + std::to_string(worker) + "\nmountpoint " +
                       escape_value(parts.mountpoint) + "\nboot " + boot + "passthrough " +
                       escape_value(passthrough_text(header)) + "\n";
    for (const IdRange& range : parts.ids.uids) text += "uid-map " + id_map_text({range});
    for (const IdRange& range : parts.ids.gids) text += "gid-map " + id_map_text({range});
    if (connection.ok()) text += "connection " + std::to_string(connection.value()) + "\n";
    (void)replace_file(parts.run.get(), "engine", text, 0600, false).ok();
}

void remove_state(const EngineParts& parts) {
    ::unlinkat(parts.run.get(), "engine", 0);
    ::unlinkat(parts.run.get(), "control", 0);
}

// From here on nobody waits for us: what is said goes into run/<ct>/log.
void detach_from_terminal(const EngineParts& parts) {
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

// Unmounts when the worker asks for it. A child does it: it may take long, and meanwhile the worker may die.
class Unmounter {
public:
    explicit Unmounter(const EngineParts& parts) : parts_(parts) {}

    // Until the worker has ended; returns its wait status.
    int wait_for(pid_t worker) {
        UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, worker, 0)));
        for (;;) {
            // Without a pidfd (no descriptors left) the worker is looked after every tenth of a second.
            pollfd fds[3] = {{pidfd.get(), POLLIN, 0}, {parts_.answers.get(), POLLIN, 0}, {child_fd_.get(), POLLIN, 0}};
            (void)::poll(fds, 3, pidfd.valid() ? -1 : 100);
            int status = 0;
            const pid_t ended = ::waitpid(worker, &status, WNOHANG);
            if (ended == worker) return status;
            if (ended < 0 && errno == ECHILD) return 0;
            if (fds[1].revents != 0) take_request();
            if (fds[2].revents != 0) answer();
        }
    }

private:
    void take_request() {
        std::vector<std::byte> message(sizeof(DropPages) + kNodeidsPerMessage * sizeof(uint64_t));
        const ssize_t size = ::recv(parts_.answers.get(), message.data(), message.size(), 0);
        if (size >= static_cast<ssize_t>(sizeof(DropPages))) return drop_pages(std::span(message).first(static_cast<size_t>(size)));
        if (size != 1 || child_ > 0) return;
        const auto force = static_cast<char>(message[0]);
        child_ = ::fork();
        if (child_ == 0) {
            const int flags = force == 1 ? MNT_FORCE | MNT_DETACH : UMOUNT_NOFOLLOW;
            ::_exit(::umount2(parts_.mountpoint.c_str(), flags) == 0 ? 0 : errno);
        }
        child_fd_ = UniqueFd(child_ > 0 ? static_cast<int>(::syscall(SYS_pidfd_open, child_, 0)) : -1);
        if (child_fd_.valid()) return;
        // No process or descriptor left: said at once, as a child that cannot be waited for would block us.
        send(EAGAIN);
        child_ = 0;
    }

    // A grandchild does it and answers, for as long as that may take; nobody has to wait for it.
    void drop_pages(std::span<const std::byte> message) {
        const pid_t child = ::fork();
        if (child == 0) {
            if (::fork() != 0) ::_exit(0);
            DropPages request;
            std::memcpy(&request, message.data(), sizeof request);
            for (size_t at = sizeof request; at + sizeof(uint64_t) <= message.size(); at += sizeof(uint64_t)) {
                struct {
                    fuse_out_header header;
                    fuse_notify_inval_inode_out inode;
                } notification{};
                notification.header.len = sizeof notification;
                notification.header.error = FUSE_NOTIFY_INVAL_INODE;
                std::memcpy(&notification.inode.ino, message.data() + at, sizeof(uint64_t));
                // ENOENT: the kernel has no such inode, so no pages of it either.
                (void)!::write(parts_.device.get(), &notification, sizeof notification);
            }
            const PagesDropped dropped{request.number, 0};
            (void)!::send(parts_.answers.get(), &dropped, sizeof dropped, MSG_NOSIGNAL);
            ::_exit(0);
        }
        if (child > 0) (void)::waitpid(child, nullptr, 0);
    }

    void answer() {
        int status = 0;
        if (::waitpid(child_, &status, 0) != child_) return;
        child_ = 0;
        child_fd_.reset();
        send(WIFEXITED(status) ? WEXITSTATUS(status) : EIO);
    }

    void send(int32_t error) { (void)!::send(parts_.answers.get(), &error, sizeof error, MSG_NOSIGNAL); }

    const EngineParts& parts_;
    pid_t child_ = 0;
    UniqueFd child_fd_;
};

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
    Unmounter unmounter(parts);
    for (;;) {
        int live[2];
        if (::pipe2(live, O_CLOEXEC) < 0) return 1;
        const uint64_t served_before = header->requests;
        pid_t worker = ::fork();
        if (worker == 0) {
            ::close(live[0]);
            ready.reset();
            parts.mount.reset();
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
        if (is_live && failed == 0) write_state(parts, worker, *header);
        if (is_live && failed == 0 && ready.valid()) {
            char status = 0;
            (void)!::write(ready.get(), &status, 1);
            ready.reset();
            detach_from_terminal(parts);
        }

        const int status = unmounter.wait_for(worker);
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
