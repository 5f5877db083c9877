#pragma once
// The control socket of one engine: one request and one reply a connection, served by the same thread as the root. No
// client can hold the thread up: everything is non-blocking, and the number and size of connections is bounded.

#include <memory>
#include <span>
#include <string>
#include <unordered_map>

#include "base/unique_fd.h"
#include "control/errand.h"
#include "control/frame.h"
#include "inode/root.h"

namespace templatefs {

struct ControlContext {
    std::string container;
    std::string mountpoint;
    int64_t holder = 0;
};

// Text for `passthrough`: "yes", or "no: REASON".
std::string passthrough_text(const StateHeader& header);

class ControlServer {
public:
    // `listener` is a listening, non-blocking socket; `epoll` gets the connections with their descriptor as data.
    // `holder` leads to who does errands: control/errand.h.
    ControlServer(Root& root, ControlContext context, int listener, int holder, int epoll);

    void accept();
    bool owns(int fd) const { return connections_.contains(fd); }
    void ready(int fd);
    // The holder has answered.
    void holder_answered();
    // The connection is gone: whoever asked for that hears of it.
    void ended();
    // Milliseconds for which no request may be served, as a client wants the private area to stay as it is; -1: none wants it.
    int frozen_ms();

private:
    struct Connection {
        UniqueFd fd;
        FrameReader reader;
    };

    // Empty when the answer comes later (stop).
    std::string answer(std::string_view body, int fd);
    std::string status();
    std::string quota(std::span<const std::string_view> changes);
    std::string stop(bool force, int fd);
    std::string trace(std::string_view what);
    std::string freeze(std::string_view seconds, int fd);
    std::string broken(std::span<const std::string_view> objects, int fd);
    std::string sound(std::span<const std::string_view> objects);
    // false, with errno, if the holder could not be asked.
    bool ask(ErrandKind kind, uint32_t number, std::span<const uint64_t> nodeids = {});
    void pages_dropped(uint32_t number);
    void finish_stop(int error);
    void send_and_close(int fd, const std::string& frame);

    Root& root_;
    ControlContext context_;
    int listener_;
    int epoll_;
    std::unordered_map<int, Connection> connections_;

    // The engine has to go on serving until the kernel lets go.
    int holder_;
    uint32_t errands_ = 0;  // number of the last one
    uint32_t stopping_ = 0;  // number of the errand; 0: none
    int stop_client_ = -1;

    // A client as long as whose connection is open nothing changes.
    int freezing_client_ = -1;
    int64_t frozen_until_ = 0;  // milliseconds of the monotonic clock

    // A client that waits for pages to be dropped.
    struct Dropping {
        int client = -1;
        uint32_t number = 0;  // of its errands, which have one
        size_t left = 0;      // answers to come
        std::string reply;
    };
    Dropping dropping_;
};

std::string error_frame(std::string_view code, std::string_view message);

}  // namespace templatefs
