#pragma once
// What a holder does for its confined worker: control/errand.h says what is asked. A child does each: it may take long, the
// kernel may have to ask the worker for something before it is done, and meanwhile the worker may die.

#include <poll.h>

#include <cstddef>
#include <span>
#include <vector>

#include "control/errand.h"
#include "session/engine.h"

namespace templatefs {

class Errands {
public:
    explicit Errands(const EngineParts& parts) : parts_(parts) {}

    // Appends what to wait for.
    void watch(std::vector<pollfd>& fds) const { fds.push_back({parts_.answers.get(), POLLIN, 0}); }
    // Starts what was asked; waits for nothing.
    void step();

private:
    void start(const Errand& errand, std::span<const std::byte> nodeids) const;
    int unmount(bool force) const;
    void drop_pages(std::span<const std::byte> nodeids) const;
    void answer(const Errand& errand, int error) const;

    const EngineParts& parts_;
};

}  // namespace templatefs
