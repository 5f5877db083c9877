#pragma once
// System calls on the host fail as a test wants it.
//
// The test programs are linked with `-Wl,--wrap=` for each function that the engine asks the host's file system with (binding.gyp
// has the list): the engine is compiled as it is for the product, and every such call of it comes by here.

#include <cstdint>
#include <string>

namespace templatefs::testing {

struct HostFault {
    int error = 0;         // errno
    uint64_t number = 0;   // of the call that fails, from 1; 0 none: calls are only counted
    // From that call on: ENOSPC and EDQUOT for all that takes space, EROFS for all changes, EIO for everything.
    bool goes_on = false;
    // Calls that only look fail, too. Else calls that cannot meet such an error are not counted.
    bool also_looks = false;
    // In place of failing: the process is killed before that call.
    bool kills = false;
};

struct HostCalls {
    uint64_t count = 0;       // those that were counted
    std::string failed;       // the first that failed
    bool failed_look = false;
    bool hit() const { return !failed.empty(); }
};

// From here on, for all threads of the process.
void fail_host_call(const HostFault& fault);
// Ends it.
HostCalls end_host_faults();

}  // namespace templatefs::testing
