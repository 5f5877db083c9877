#pragma once
// What a confined worker asks of its holder, and the answer: messages of a socket pair. A worker may neither unmount nor wait for
// the kernel, which may wait for an answer of the worker before it drops a page.

#include <cstddef>
#include <cstdint>

namespace templatefs {

enum class ErrandKind : uint32_t {
    Unmount = 1,
    UnmountByForce = 2,
    DropPages = 3,  // of the files whose nodeids follow the errand, 8 bytes each
};

struct Errand {
    ErrandKind kind{};
    int32_t worker = 0;   // its pid: an answer for one that has died is none for the next
    uint32_t number = 0;  // the worker's own
};

struct ErrandDone {
    Errand errand{};
    int32_t error = 0;  // an errno; 0: done
};

inline constexpr size_t kNodeidsPerErrand = 1000;

}  // namespace templatefs
