#pragma once
// What a holder does for its confined worker: control/control_server.h says what is asked. A child does each: it may take long, the
// kernel may have to ask the worker for something before it is done, and meanwhile the worker may die.

#include <poll.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/unique_fd.h"
#include "session/engine.h"

namespace templatefs {

class Errands {
public:
    explicit Errands(const EngineParts& parts) : parts_(parts) {}

    // Appends what to wait for.
    void watch(std::vector<pollfd>& fds) const;
    // Takes what was asked, and answers what is done; waits for nothing.
    void step();

private:
    bool take();
    void unmount(bool force);
    void drop_pages(std::span<const std::byte> message) const;
    void answer_ended();
    void send(int32_t error) const;
    void keep_no_lock() const;  // in a child

    const EngineParts& parts_;
    pid_t child_ = 0;  // that unmounts
    UniqueFd child_fd_;
};

}  // namespace templatefs
