#pragma once
// A holder's wait for its worker, in which it may be asked to hand the root over to another binary.

#include <sys/types.h>

#include <ctime>
#include <optional>

#include "session/engine.h"
#include "session/errands.h"
#include "session/handover.h"

namespace templatefs {

class Upgrades {
public:
    // From here on SIGUSR1 asks for an upgrade. Probation begins, if there is an executable to go back to.
    explicit Upgrades(EngineParts& parts);

    // Until the worker has ended: its wait status. nullopt: another holder has taken the root over. Meanwhile does what the worker asks for.
    std::optional<int> wait_for(pid_t worker, Errands& errands);

    // To be told of each worker's end. true: too many of a new binary have crashed, and the old one has the root again.
    bool hand_back(int status);

private:
    std::optional<HandOverOutcome> serve(pid_t worker, int& status);
    void end_probation_in_time();

    EngineParts& parts_;
    UniqueFd signals_;
    timespec probation_end_{};
    int crashes_ = 0;
};

// Whether a worker ended by a fault of its own: not by SIGKILL, which comes from outside.
bool has_crashed(int status);

}  // namespace templatefs
