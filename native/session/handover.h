#pragma once
// Gives a mounted root to a holder of another binary, which has to show first that it can take it, and then that it serves:
// docs/protocols/handover.md. Until then this holder can go on by itself.

#include <sys/types.h>

#include <string>

#include "base/result.h"
#include "session/engine.h"

namespace templatefs {

enum class HandOverOutcome {
    Refused,  // nothing was touched: the worker serves on
    Taken,    // the other holder serves; this one has nothing left to do
    Lost,     // it did not serve in the end; the worker and all that came of the other binary have ended
};

struct HandOver {
    HandOverOutcome outcome;
    std::string why;        // Refused, Lost
    int worker_status = 0;  // Lost: the worker's wait status
};

struct HandOverTo {
    int binary;           // an open executable
    int previous = -1;    // what the new holder may go back to; -1 none
    std::string request;  // whose it is; empty: nobody waits for an answer
};

// `worker` serves now, or is 0.
HandOver hand_over(const EngineParts& parts, const HandOverTo& to, pid_t worker);

// The other side, in the new process; `parts` is a file with what describe_parts() writes.
int run_resume(UniqueFd parts);

// The first worker of the new holder serves: the old one may end.
void tell_live(Takeover& takeover);

}  // namespace templatefs
