#pragma once
// One connection to the kernel: takes messages, has them answered, sends each answer exactly once.

#include <cstddef>
#include <functional>
#include <optional>
#include <span>

#include "inode/root.h"
#include "ops/operation.h"
#include "wire/reply.h"
#include "wire/request.h"

namespace templatefs {

struct SessionOptions {
    bool passthrough = true;
    uint32_t max_stack_depth = 1;  // 2 when the store lies on a stacked file system
};

class Session {
public:
    enum class Step {
        Served,  // a message was read and dealt with
        Idle,    // none is waiting
        Ended,   // the connection is gone: unmounted or aborted
    };

    // `device` is /dev/fuse (or a socket with message boundaries, in tests), non-blocking if step() must not wait.
    Session(Root& root, int device, SessionOptions options);
    ~Session();
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    // Asks the kernel to send requests again that a dead worker had read but not answered.
    Result<void> request_resend();

    // Reads and serves one message. Errors of the device that do not end the connection are returned.
    Result<Step> step();

    // From now on an fsync waits in a thread of the syncer, which lives as long as the session.
    void use(Syncer& syncer) { syncer_ = &syncer; }
    // Answers those that are done.
    void answer_syncs();

    // Serves one message that was read elsewhere; what has to be sent is in the result (empty: nothing).
    std::span<const std::byte> serve(std::span<const std::byte> message);

    bool initialized() { return root_.header().initialized != 0; }

private:
    void dispatch(Request& request);
    Result<void> op_init(Request& request);
    void after_init();
    // Makes so much of the input buffer present in memory. A worker that is killed while the kernel copies a request into a
    // page that is not there cannot be given the page any more, and the kernel then fails the request with EIO instead of
    // keeping it for the next worker.
    void hold_input(size_t size);
    // The kernel had given the request up when its answer came: it will not release what the answer opened.
    void take_back(const Request& request, std::span<const std::byte> answer);

    Root& root_;
    int device_;
    SessionOptions options_;
    Syncer* syncer_ = nullptr;
    std::span<std::byte> input_;
    size_t held_ = 0;  // bytes of it that are present
    std::span<std::byte> output_;
    Reply reply_;
};

}  // namespace templatefs
