#include "control/engine_request.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>

#include "control/frame.h"

namespace templatefs {

Result<UniqueFd> connect_to_engine(int run, int timeout_ms) {
    UniqueFd socket(TRY(checked(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0))));
    timeval timeout{};
    timeout.tv_sec = timeout_ms / 1000;
    timeout.tv_usec = timeout_ms % 1000 * 1000;
    TRY(checked_void(::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout)));
    TRY(checked_void(::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout)));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    // A socket address holds 108 bytes, a store's path may be longer.
    std::snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/control", run);
    TRY(checked_void(::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address)));
    return socket;
}

Result<std::string> ask_engine(int run, std::initializer_list<std::string_view> fields, int timeout_ms) {
    return ask_connected(TRY(connect_to_engine(run, timeout_ms)).get(), fields);
}

Result<std::string> ask_connected(int socket, std::initializer_list<std::string_view> fields) {
    FrameWriter writer;
    for (std::string_view field : fields) writer.field(field);
    const std::string frame = writer.take();
    if (::send(socket, frame.data(), frame.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(frame.size())) return Errno(EPROTO);
    FrameReader reader;
    char buffer[4096];
    for (;;) {
        const ssize_t size = ::recv(socket, buffer, sizeof buffer, 0);
        if (size < 0 && errno == EINTR) continue;
        if (size < 0) return Errno(errno == EAGAIN ? ETIMEDOUT : errno);
        if (size == 0) return Errno(EPROTO);
        switch (reader.feed({buffer, static_cast<size_t>(size)})) {
            case FrameReader::State::Incomplete:
                continue;
            case FrameReader::State::Refused:
                return Errno(EPROTO);
            case FrameReader::State::Complete:
                return std::string(reader.body());
        }
    }
}

}  // namespace templatefs
