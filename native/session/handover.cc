#include "session/handover.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "base/failure.h"
#include "inode/shared_state.h"
#include "private/settings.h"
#include "session/engine_parts_text.h"

namespace templatefs {
namespace {

constexpr int kPrepareMs = 10'000;
constexpr int kLiveMs = 30'000;

void send_message(int socket, std::string_view message) {
    (void)!::send(socket, message.data(), message.size(), MSG_NOSIGNAL);
}

// Empty when the other side has ended or says nothing in time. `timeout_ms` -1: as long as it takes.
std::string receive_message(int socket, int timeout_ms) {
    pollfd wait{socket, POLLIN, 0};
    int ready;
    do ready = ::poll(&wait, 1, timeout_ms);
    while (ready < 0 && errno == EINTR);
    char buffer[512];
    const ssize_t size = ready > 0 ? ::recv(socket, buffer, sizeof buffer, 0) : 0;
    return size > 0 ? std::string(buffer, static_cast<size_t>(size)) : std::string();
}

Result<UniqueFd> text_file(const std::string& text) {
    UniqueFd file(TRY(checked(::memfd_create("templatefs-engine-parts", MFD_CLOEXEC))));
    if (::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) return Errno(EIO);
    TRY(checked(::lseek(file.get(), 0, SEEK_SET)));
    return file;
}

Result<std::string> read_text(int file) {
    std::string text(64 * 1024, '\0');
    text.resize(static_cast<size_t>(TRY(checked(::pread(file, text.data(), text.size(), 0)))));
    return text;
}

// In the child: becomes the other binary, or says why not.
[[noreturn]] void become(const EngineParts& parts, const HandOverTo& to, int socket, int text) {
    std::vector<int> kept = descriptors_of(parts);
    kept.push_back(socket);
    kept.push_back(text);
    if (to.previous >= 0) kept.push_back(to.previous);
    for (int fd : kept) ::fcntl(fd, F_SETFD, 0);
    const std::string number = std::to_string(text);
    const char* arguments[] = {"templatefs-engine", "resume",  "--store",      parts.store_path.c_str(), "--container", parts.container.c_str(),
                               "--parts",           number.c_str(), nullptr};
    ::syscall(SYS_execveat, to.binary, "", arguments, environ, AT_EMPTY_PATH);
    send_message(socket, std::string("Eit cannot be started: ") + std::strerror(errno));
    ::_exit(127);
}

// Whatever came of the other binary is our child by now, or will be when its parent has ended.
void end_all_children(pid_t first) {
    ::kill(first, SIGKILL);
    while (::waitpid(-1, nullptr, 0) > 0 || errno == EINTR) {
    }
}

std::string why_not(const std::string& message, const char* otherwise) {
    return message.starts_with('E') ? message.substr(1) : std::string(otherwise);
}

}  // namespace

HandOver hand_over(const EngineParts& parts, const HandOverTo& to, pid_t worker) {
    int pair[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return {HandOverOutcome::Refused, std::string("no socket: ") + std::strerror(errno)};
    UniqueFd ours(pair[0]);
    UniqueFd theirs(pair[1]);
    std::string text = describe_parts(parts) + "descriptor handover " + std::to_string(theirs.get()) + "\n";
    if (to.previous >= 0) text += "descriptor previous " + std::to_string(to.previous) + "\n";
    text += "request " + escape_value(to.request) + "\n";
    auto file = text_file(text);
    if (!file.ok()) return {HandOverOutcome::Refused, std::string("no memory: ") + errno_text(file.error())};
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    const pid_t other = ::fork();
    if (other < 0) return {HandOverOutcome::Refused, std::string("cannot fork: ") + std::strerror(errno)};
    if (other == 0) become(parts, to, theirs.get(), file.value().get());
    theirs.reset();

    std::string message = receive_message(ours.get(), kPrepareMs);
    if (message != "P") {
        ::kill(other, SIGKILL);
        (void)::waitpid(other, nullptr, 0);
        return {HandOverOutcome::Refused, why_not(message, "it ends, or does nothing, when it is started")};
    }
    int status = 0;
    if (worker > 0) {
        ::kill(worker, SIGKILL);
        while (::waitpid(worker, &status, 0) < 0 && errno == EINTR) {
        }
    }
    // A worker that had ended by itself had seen the end of the connection: nothing is left to hand over.
    const bool unmounted = worker > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (!unmounted) {
        send_message(ours.get(), "G");
        message = receive_message(ours.get(), kLiveMs);
        if (message == "L") return {HandOverOutcome::Taken, {}};
    }
    end_all_children(other);
    return {HandOverOutcome::Lost, why_not(message, "its workers do not come up"), status};
}

void tell_live(Takeover& takeover) {
    send_message(takeover.socket.get(), "L");
    takeover.socket.reset();
}

int run_resume(UniqueFd file) {
    auto text = read_text(file.get());
    EngineParts parts;
    auto parsed = text.ok() ? parse_parts(text.value(), parts) : Result<void>(text.error());
    const int socket = parts.takeover.socket.get();
    if (!parsed.ok() || socket < 0) {
        if (socket >= 0) send_message(socket, "Eit does not understand what it was given");
        return fail(kExitFailed, "ENGINE_STATE_MISMATCH", "not the parts of an engine: %s", errno_text(parsed.ok() ? Errno(EINVAL) : parsed.error()));
    }
    if (auto checked = SharedState::check(parts.state.get()); !checked.ok()) {
        send_message(socket, "Eits state has another form");
        return fail(kExitFailed, "ENGINE_STATE_MISMATCH", "the running engine of %s keeps its state in another form", parts.container.c_str());
    }
    send_message(socket, "P");
    if (receive_message(socket, -1) != "G") return kExitFailed;
    return run_holder(parts, UniqueFd());
}

}  // namespace templatefs
