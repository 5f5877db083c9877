// The control socket: connections that send anything in any pieces, and go at any time. The server answers with one frame
// or closes; it never waits for a client and never keeps one that is gone.

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <optional>

#include "base/little_endian.h"
#include "control/control_server.h"
#include "fuzz/scratch.h"

namespace templatefs::fuzz {
namespace {

const std::string_view kFields[] = {"status", "sync", "quota", "drop", "size=none", "size=65536", "inodes=100", "inodes=none",
                                    "size=", "force", "", "x", "size=99999999999999999999", "mark", "trace", "begin", "end", "freeze", "1", "61",
                                    "broken", "sound", "merge", "budget=0", "budget=1000", "268435456 5 1700000000.000000000 00000000000000000000000000000000 /new",
                                    "268435457 0 1700000000.000000000 00000000000000000000000000000000.1 /etc/x"};

class Server {
public:
    Server() : listener_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)), epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
        // An abstract address of the kernel's choice.
        sockaddr_un any{};
        any.sun_family = AF_UNIX;
        size_ = sizeof address_;
        if (::bind(listener_.get(), reinterpret_cast<sockaddr*>(&any), sizeof any.sun_family) < 0 || ::listen(listener_.get(), 64) < 0 ||
            ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address_), &size_) < 0)
            finding("no socket");
        store_.reset("quota-size 65536\nquota-inodes 24\n");
        memory_ = new_state();
        state_.emplace(SharedState::attach(memory_.get()).take());
        root_.emplace(store_.parts(), *state_);
        if (!root_->recover().ok()) finding("cannot mount");
    }

    void run(Choices& choices) {
        // No mount point of that name: `stop` has nothing to unmount.
        ControlServer server(*root_, {"c1", "/nonexistent/templatefs-fuzz", 1}, listener_.get(), -1, epoll_.get());
        std::vector<UniqueFd> clients;
        for (int step = 0; step < 40 && !choices.done(); step++) {
            switch (choices.pick(6)) {
                case 0: {
                    UniqueFd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
                    if (::connect(client.get(), reinterpret_cast<const sockaddr*>(&address_), size_) == 0) clients.push_back(std::move(client));
                    break;
                }
                case 1: send(clients, choices, frame(choices)); break;
                case 2: {
                    const auto bytes = choices.text(choices.byte());
                    send(clients, choices, std::string(bytes));
                    break;
                }
                case 3:
                    if (!clients.empty()) clients.erase(clients.begin() + static_cast<ptrdiff_t>(choices.pick(clients.size())));
                    break;
                case 4: {
                    // Half of a frame now, the other half with the next step of this kind.
                    const std::string whole = frame(choices);
                    const size_t size = choices.pick(whole.size() + 1);
                    send(clients, choices, whole.substr(0, size));
                    serve(server);
                    send(clients, choices, whole.substr(size));
                    break;
                }
                default: break;
            }
            serve(server);
        }
        for (UniqueFd& client : clients) check_answer(client.get());
        clients.clear();
        // Every connection has ended, so nothing may be left to look after.
        for (int round = 0; round < 3; round++) serve(server);
        epoll_event events[64];
        if (::epoll_wait(epoll_.get(), events, 64, 0) > 0) finding("a connection that is gone is kept");
        store_.check_untouched();
    }

private:
    static std::string frame(Choices& choices) {
        std::string body;
        const size_t fields = choices.pick(4) + 1;
        for (size_t i = 0; i < fields; i++) {
            const size_t which = choices.pick(std::size(kFields) + 1);
            body += which < std::size(kFields) ? kFields[which] : choices.text(choices.byte());
            body += '\0';
        }
        std::string whole(4, '\0');
        const uint32_t size = choices.one_in(8) ? choices.take<uint32_t>() : static_cast<uint32_t>(body.size());
        store_le<uint32_t>(reinterpret_cast<std::byte*>(whole.data()), size);
        return whole + body;
    }

    static void send(std::vector<UniqueFd>& clients, Choices& choices, const std::string& bytes) {
        if (clients.empty() || bytes.empty()) return;
        (void)!::send(clients[choices.pick(clients.size())].get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    }

    void serve(ControlServer& server) {
        server.accept();
        epoll_event events[64];
        const int count = ::epoll_wait(epoll_.get(), events, 64, 0);
        for (int i = 0; i < count; i++) {
            if (!server.owns(events[i].data.fd)) finding("an event for a descriptor that nobody owns");
            server.ready(events[i].data.fd);
        }
    }

    static void check_answer(int client) {
        std::string answer(65536, '\0');
        const ssize_t size = ::recv(client, answer.data(), answer.size(), 0);
        if (size <= 0) return;
        answer.resize(static_cast<size_t>(size));
        FrameReader reader;
        if (reader.feed(answer) != FrameReader::State::Complete) finding("an answer that is no frame");
        auto fields = split_fields(reader.body());
        if (!fields.ok() || (fields.value()[0] != "ok" && fields.value()[0] != "error")) finding("an answer that is neither ok nor error");
    }

    UniqueFd listener_, epoll_;
    sockaddr_un address_{};
    socklen_t size_ = 0;
    SmallStore store_;
    UniqueFd memory_;
    std::optional<SharedState> state_;
    std::optional<Root> root_;
};

}  // namespace

void fuzz_control(Input input) {
    enter_scratch();
    static Server& server = *new Server;
    Choices choices(input);
    if (choices.one_in(4)) {
        // The reader alone, in pieces.
        FrameReader reader;
        for (auto state = FrameReader::State::Incomplete; state == FrameReader::State::Incomplete && !choices.done();) {
            state = reader.feed(choices.text(choices.byte()));
            if (state == FrameReader::State::Complete) (void)split_fields(reader.body()).ok();
        }
        return;
    }
    server.run(choices);
}

}  // namespace templatefs::fuzz
