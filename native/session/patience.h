#pragma once
// How long a worker that has answered looks for the next request before it sleeps.
//
// A client that works on files asks again some microseconds after each answer. To fall asleep and to be woken takes longer than
// that, above all across CPUs and in virtual machines (docs/performance.md), so the worker looks again for a while, and lets whoever else
// wants its CPU go first between two looks. It does so only while requests come that fast: an idle root costs nothing.

#include <cstdint>

namespace templatefs {

class Patience {
public:
    // So long it is worth while: about what going to sleep and being woken costs.
    static constexpr int64_t kWindowNs = 40'000;

    // Nothing to do at `now` (nanoseconds of a monotonic clock). Whether to look again rather than to sleep.
    bool look_again(int64_t now) {
        if (idle_since_ == 0) idle_since_ = now;
        if (trust_ == 0) return false;
        if (now - idle_since_ < kWindowNs) return true;
        trust_ -= trust_ < kCost ? trust_ : kCost;
        return false;
    }
    // A request came, at `now` if the worker had nothing to do before.
    bool was_idle() const { return idle_since_ != 0; }
    void found(int64_t now) {
        if (now - idle_since_ < 2 * kWindowNs && trust_ < kMost) trust_++;
        idle_since_ = 0;
    }

private:
    static constexpr uint32_t kMost = 8;
    static constexpr uint32_t kCost = 2;  // of a wait that was in vain: more than half of them must pay

    int64_t idle_since_ = 0;
    uint32_t trust_ = 0;
};

}  // namespace templatefs
