#pragma once
#include "base/result.h"

namespace templatefs {

// Exit statuses of the engine; the table stands in the CLI documentation.
enum ExitStatus : int {
    kExitOk = 0,
    kExitFailed = 1,
    kExitUsage = 2,
    kExitNoContainer = 10,
    kExitBusy = 11,
    kExitIntegrity = 12,
    kExitNoFuse = 13,
};

// From now on `fail` writes `PROGRAM: message`, and what to do about it on a second line: for a program that people start
// themselves. `program` must live on; nullptr: as at first.
void tell_errors_to_people(const char* program);

// Writes `templatefs-engine: CODE: message` as one line to stderr and returns `status`, so that a command can end with
// `return fail(…)`. Control characters in the message (from paths) become '?'.
[[gnu::format(printf, 3, 4)]] int fail(ExitStatus status, const char* code, const char* format, ...);

// The code for a system call on the store that failed: full, read-only or broken disks have their own, else `otherwise`.
const char* failure_code(Errno error, const char* otherwise);

// The text of an errno; knows that EUCLEAN stands for a broken image.
const char* errno_text(Errno error);

}  // namespace templatefs
