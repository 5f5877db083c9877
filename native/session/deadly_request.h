#pragma once
// A request that crashes its worker is sent again to the next one, and would go on like that for ever. So the worker notes what
// it is at, the holder counts how often in a row a worker crashed at the same request, and after some
// times that request is answered EIO: the rest of the root goes on. SIGKILL is no crash: it comes from outside.

#include "inode/shared_state.h"

namespace templatefs {

// More than a new engine binary has before it is taken back (upgrades.cc): the old one may be able to answer.
inline constexpr uint32_t kMaxDeaths = 5;

// While it lives, the worker is at this request. A handler that crashes leaves it standing.
class Serving {
public:
    Serving(StateHeader& header, uint64_t unique, uint32_t opcode) : header_(header) {
        header.serving_opcode = opcode;
        header.serving_unique = unique;
        std::atomic_signal_fence(std::memory_order_seq_cst);
    }
    ~Serving() {
        std::atomic_signal_fence(std::memory_order_seq_cst);
        header_.serving_unique = 0;
    }
    Serving(const Serving&) = delete;
    Serving& operator=(const Serving&) = delete;

private:
    StateHeader& header_;
};

// By the holder, when a worker has ended and before the next one starts.
inline void note_end(StateHeader& header, bool crashed) {
    if (!crashed) header.serving_unique = 0;
    if (header.serving_unique == 0) return;
    header.deadly_count = header.serving_unique == header.deadly_unique ? header.deadly_count + 1 : 1;
    header.deadly_unique = header.serving_unique;
    header.serving_unique = 0;
}

// Whether enough workers have crashed at it.
inline bool is_deadly(const StateHeader& header, uint64_t unique) {
    return header.deadly_count >= kMaxDeaths && header.deadly_unique == unique;
}

}  // namespace templatefs
