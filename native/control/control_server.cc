#include "control/control_server.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <utility>

#include "control/merge_verb.h"
#include "control/object_name.h"
#include "control/version.h"
#include "wire/opcodes.h"

namespace templatefs {
namespace {

constexpr size_t kMaxConnections = 32;
constexpr uint64_t kLongestFreeze = 60;  // seconds

int64_t monotonic_ms() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

}  // namespace

std::string error_frame(std::string_view code, std::string_view message) {
    return FrameWriter().field("error").field(code).field(message).take();
}

std::string passthrough_text(const StateHeader& header) {
    if (header.passthrough != 0) return "yes";
    switch (header.passthrough_error) {
        case ENOSYS:
            return "no: this kernel does not offer it (Linux 6.9 or newer does)";
        case ECANCELED:
            return "no: turned off by --no-passthrough";
        case ELOOP:
            return "no: the store lies on a stacked file system that is too deep for it";
        case EPERM:
            return "no: the engine lacks CAP_SYS_ADMIN";
        default:
            return std::string("no: ") + std::strerror(static_cast<int>(header.passthrough_error));
    }
}

ControlServer::ControlServer(Root& root, ControlContext context, int listener, int holder, int epoll)
    : root_(root), context_(std::move(context)), listener_(listener), epoll_(epoll), holder_(holder) {}

void ControlServer::accept() {
    for (;;) {
        UniqueFd fd(::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        if (!fd.valid()) return;
        // Over the limit the oldest would wait for ever: the new one is turned away.
        if (connections_.size() >= kMaxConnections) continue;
        int number = fd.get();
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.fd = number;
        if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, number, &event) < 0) continue;
        connections_[number] = Connection{std::move(fd), FrameReader()};
    }
}

void ControlServer::ready(int fd) {
    auto found = connections_.find(fd);
    if (found == connections_.end()) return;
    char buffer[4096];
    for (;;) {
        ssize_t size = ::read(fd, buffer, sizeof buffer);
        if (size < 0 && errno == EINTR) continue;
        if (size < 0 && errno == EAGAIN) return;
        if (size <= 0) {
            if (fd == stop_client_) stop_client_ = -1;
            if (fd == dropping_.client) dropping_.client = -1;
            if (fd == freezing_client_) freezing_client_ = -1;
            connections_.erase(fd);
            return;
        }
        if (fd == stop_client_ || fd == dropping_.client || fd == freezing_client_) continue;  // it has said what it wants
        switch (found->second.reader.feed({buffer, static_cast<size_t>(size)})) {
            case FrameReader::State::Incomplete:
                continue;
            case FrameReader::State::Refused:
                return send_and_close(fd, error_frame("USAGE", "not a frame of the control protocol"));
            case FrameReader::State::Complete:
                std::string frame = answer(found->second.reader.body(), fd);
                if (!frame.empty()) send_and_close(fd, frame);
                return;
        }
    }
}

void ControlServer::send_and_close(int fd, const std::string& frame) {
    // Replies are far smaller than a socket buffer; a client that does not take its answer does not get it.
    (void)!::send(fd, frame.data(), frame.size(), MSG_NOSIGNAL);
    connections_.erase(fd);
}

std::string ControlServer::answer(std::string_view body, int fd) {
    auto split = split_fields(body);
    if (!split.ok()) return error_frame("USAGE", "a request is fields that each end with NUL");
    const auto& fields = split.value();
    std::string_view verb = fields[0];
    if (verb == "stop") {
        if (fields.size() > 2 || (fields.size() == 2 && fields[1] != "force")) return error_frame("USAGE", "stop [force]");
        return stop(fields.size() == 2, fd);
    }
    if (verb == "freeze") return freeze(fields.size() == 2 ? fields[1] : "", fd);
    if (verb == "quota") return quota(std::span(fields).subspan(1));
    if (verb == "broken") return broken(std::span(fields).subspan(1), fd);
    if (verb == "sound") return sound(std::span(fields).subspan(1));
    if (verb == "trace") return trace(fields.size() == 2 ? fields[1] : "");
    // The private area stays as it is meanwhile.
    if (verb == "merge" && frozen_ms() >= 0) return error_frame("BUSY", "another command has it frozen");
    if (verb == "merge") return answer_merge(root_, std::span(fields).subspan(1), epoll_);
    if (fields.size() != 1) return error_frame("USAGE", "this verb has no arguments");
    if (verb == "status") return status();
    if (verb == "mark") return FrameWriter().field("ok").field("mark", root_.change_mark()).take();
    if (verb == "sync") {
        if (::syncfs(root_.area().base()) < 0) return error_frame("IO_ERROR", std::strerror(errno));
        return FrameWriter().field("ok").take();
    }
    if (verb == "drop") {
        root_.drop_caches();
        return FrameWriter().field("ok").take();
    }
    return error_frame("USAGE", "unknown verb");
}

namespace {

// "none", or a decimal number of at most 15 digits.
std::optional<uint64_t> parse_limit(std::string_view text) {
    if (text == "none") return kNoLimit;
    if (text.empty() || text.size() > 15) return std::nullopt;
    uint64_t number = 0;
    for (char c : text) {
        if (c < '0' || c > '9') return std::nullopt;
        number = number * 10 + static_cast<uint64_t>(c - '0');
    }
    return number;
}

void put_limit(FrameWriter& frame, std::string_view key, uint64_t limit) {
    if (limit == kNoLimit) frame.field(key, "none");
    else frame.field(key, limit);
}

}  // namespace

std::string ControlServer::quota(std::span<const std::string_view> changes) {
    const UsageState& now = root_.usage().state();
    uint64_t bytes = now.limit_bytes;
    uint64_t inodes = now.limit_inodes;
    for (std::string_view change : changes) {
        const size_t equals = change.find('=');
        const std::string_view key = change.substr(0, equals);
        const auto value = equals == std::string_view::npos ? std::nullopt : parse_limit(change.substr(equals + 1));
        if (!value || (key != "size" && key != "inodes")) return error_frame("USAGE", "quota [size=N|none] [inodes=N|none]");
        (key == "size" ? bytes : inodes) = *value;
    }
    if (!changes.empty()) {
        auto changed = root_.set_limits(bytes, inodes);
        if (!changed.ok() && changed.error_code() == EBUSY)
            return error_frame("BUSY", "files that the container has written are open and bypass the engine, which could not "
                                       "keep a limit in bytes for them");
        if (!changed.ok()) return error_frame("FAILED", std::strerror(changed.error_code()));
    }
    if (auto fresh = root_.refresh_usage(); !fresh.ok()) return error_frame("FAILED", std::strerror(fresh.error_code()));
    FrameWriter frame;
    frame.field("ok");
    put_limit(frame, "size", now.limit_bytes);
    put_limit(frame, "inodes", now.limit_inodes);
    if (auto used = root_.used_bytes()) frame.field("used_bytes", *used);
    if (root_.usage().counts()) frame.field("used_inodes", now.used_inodes);
    frame.field("enforced_by", host_quota_name(static_cast<HostQuotaKind>(now.host_quota)));
    return frame.take();
}

std::string ControlServer::broken(std::span<const std::string_view> objects, int fd) {
    if (dropping_.left > 0 && dropping_.client >= 0) return error_frame("BUSY", "another check is telling of broken objects");
    std::vector<uint64_t> nodeids;
    uint64_t opens = 0;
    for (std::string_view text : objects) {
        auto object = parse_object(text);
        if (!object) return error_frame("USAGE", "broken [OBJECT]...");
        auto lost = root_.lose_object(*object);
        if (!lost.ok()) return error_frame("FAILED", std::strerror(lost.error_code()));
        opens += lost.value().opens;
        nodeids.insert(nodeids.end(), lost.value().nodeids.begin(), lost.value().nodeids.end());
    }
    std::string reply = FrameWriter().field("ok").field("opens", opens).take();
    if (nodeids.empty() || root_.fuse() < 0) return reply;
    const uint32_t number = ++errands_;
    dropping_ = Dropping{fd, number, 0, std::move(reply)};
    for (size_t at = 0; at < nodeids.size(); at += kNodeidsPerErrand) {
        if (!ask(ErrandKind::DropPages, number, std::span(nodeids).subspan(at, std::min(kNodeidsPerErrand, nodeids.size() - at)))) {
            dropping_.client = -1;
            return error_frame("FAILED", std::strerror(errno));
        }
        dropping_.left++;
    }
    return {};
}

bool ControlServer::ask(ErrandKind kind, uint32_t number, std::span<const uint64_t> nodeids) {
    const Errand errand{kind, ::getpid(), number};
    std::string message(reinterpret_cast<const char*>(&errand), sizeof errand);
    message.append(reinterpret_cast<const char*>(nodeids.data()), nodeids.size_bytes());
    return ::send(holder_, message.data(), message.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(message.size());
}

void ControlServer::pages_dropped(uint32_t number) {
    if (number != dropping_.number || dropping_.left == 0 || --dropping_.left > 0) return;
    const int client = std::exchange(dropping_.client, -1);
    if (client >= 0) send_and_close(client, dropping_.reply);
}

std::string ControlServer::sound(std::span<const std::string_view> objects) {
    for (std::string_view text : objects) {
        auto object = parse_object(text);
        if (!object) return error_frame("USAGE", "sound [OBJECT]...");
        root_.regain_object(*object);
    }
    return FrameWriter().field("ok").take();
}

std::string ControlServer::status() {
    const StateHeader& header = root_.state().header();
    FrameWriter frame;
    frame.field("ok")
        .field("version", engine_version())
        .field("protocol", static_cast<uint64_t>(kControlProtocol))
        .field("container", context_.container)
        .field("tree", root_.area().settings().tree)
        .field("mountpoint", context_.mountpoint)
        .field("holder", static_cast<uint64_t>(context_.holder))
        .field("worker", static_cast<uint64_t>(::getpid()))
        .field("restarts", header.restarts)
        .field("passthrough", passthrough_text(header))
        .field("nodes", header.live_nodes)
        .field("opens", header.opens)
        .field("backings", header.backings)
        .field("requests", header.requests);
    for (const OpcodeInfo& info : kOpcodes) {
        uint64_t count = header.requests_by_opcode[info.opcode];
        if (count != 0) frame.field(std::string("op.") + std::string(info.name), count);
    }
    return frame.take();
}

std::string ControlServer::trace(std::string_view what) {
    if (what == "begin") {
        root_.begin_trace();
        return FrameWriter().field("ok").take();
    }
    if (what != "end") return error_frame("USAGE", "trace begin|end");
    auto whole = root_.end_trace();
    if (!whole.ok()) return error_frame("FAILED", std::strerror(whole.error_code()));
    return FrameWriter().field("ok").field("whole", whole.value() ? "yes" : "no").take();
}

std::string ControlServer::freeze(std::string_view seconds, int fd) {
    const auto wanted = parse_limit(seconds);
    if (!wanted || *wanted < 1 || *wanted > kLongestFreeze) return error_frame("USAGE", "freeze SECONDS, at most 60");
    if (frozen_ms() >= 0) return error_frame("BUSY", "another command has it frozen");
    const std::string reply = FrameWriter().field("ok").take();
    if (::send(fd, reply.data(), reply.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(reply.size()))
        return error_frame("FAILED", std::strerror(errno));
    freezing_client_ = fd;
    frozen_until_ = monotonic_ms() + static_cast<int64_t>(*wanted) * 1000;
    return {};
}

int ControlServer::frozen_ms() {
    if (freezing_client_ < 0) return -1;
    const int64_t left = frozen_until_ - monotonic_ms();
    if (left > 0) return static_cast<int>(left);
    // It sees by this that the time is over.
    connections_.erase(std::exchange(freezing_client_, -1));
    return -1;
}

void ControlServer::ended() {
    if (stopping_ != 0) finish_stop(0);
}

std::string ControlServer::stop(bool force, int fd) {
    if (stopping_ != 0) return error_frame("BUSY", "it is being unmounted already");
    const uint32_t number = ++errands_;
    if (!ask(force ? ErrandKind::UnmountByForce : ErrandKind::Unmount, number)) return error_frame("FAILED", std::strerror(errno));
    stopping_ = number;
    stop_client_ = fd;
    return {};
}

void ControlServer::holder_answered() {
    ErrandDone done;
    while (::recv(holder_, &done, sizeof done, 0) == sizeof done) {
        // A worker that has died may have asked: whoever waited for it has heard that it is gone.
        if (done.errand.worker != ::getpid()) continue;
        if (done.errand.kind == ErrandKind::DropPages) pages_dropped(done.errand.number);
        else if (done.errand.number == stopping_) finish_stop(done.error);
    }
}

void ControlServer::finish_stop(int error) {
    stopping_ = 0;
    const int client = std::exchange(stop_client_, -1);
    if (client < 0) return;
    if (error == 0) send_and_close(client, FrameWriter().field("ok").take());
    else if (error == EBUSY) send_and_close(client, error_frame("BUSY", "the root is in use"));
    else send_and_close(client, error_frame("FAILED", std::strerror(error)));
}

}  // namespace templatefs
