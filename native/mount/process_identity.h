#pragma once
// Names one process for good, as src/catalog/process-identity.ts does.

#include <sys/types.h>

#include <string>

namespace templatefs {

struct ProcessIdentity {
    pid_t pid = 0;
    std::string start;  // field 22 of /proc/PID/stat
    std::string boot;
};

// The kernel's id of the running boot; empty when /proc is not there.
std::string boot_id();

// The start time of a live process; empty when there is none, or it only waits to be reaped.
std::string process_start(pid_t pid);

// What a process calls itself (comm); empty when there is none.
std::string process_name(pid_t pid);

// Whether a live process calls itself the holder or the worker of an engine.
bool has_engine_name(pid_t pid);

ProcessIdentity own_identity();

}  // namespace templatefs
