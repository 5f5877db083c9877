#pragma once
// Does fsync(2) in threads of its own, so that nobody else in the root waits for the disk meanwhile.
//
// The threads know nothing but descriptors: jobs come and go by pipes, so nothing is shared with the thread that serves the root and nothing
// has to be locked. What a job was for is noted, and its request answered, by the serving thread. If the worker dies, the
// request has no answer yet and the kernel sends it to the next worker, which does it again.

#include <pthread.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "base/result.h"
#include "base/unique_fd.h"

namespace templatefs {

/// One fsync. Written to a pipe as it is.
struct SyncJob {
    uint64_t unique = 0;         // of the request that is answered when it is done
    uint64_t nodeid = 0;
    uint64_t xattr_changes = 0;  // Root::ContentSync
    int32_t fd = -1;             // of the job: closed by take_done()
    int32_t error = 0;           // an errno; 0: durable
    uint32_t whole = 0;          // fsync(2), not fdatasync(2)
    uint32_t content = 0;        // of a file; else of a folder
};

class Syncer {
public:
    /// Starts the threads, which stay until the end. Before the worker's filter of system calls: it lets no thread be made.
    static Result<std::unique_ptr<Syncer>> start();
    ~Syncer();
    Syncer(const Syncer&) = delete;
    Syncer& operator=(const Syncer&) = delete;

    /// Takes a job over, with its descriptor. False when there are too many: then the caller does it, and keeps the descriptor.
    bool take(const SyncJob& job);

    bool is_at_work() const { return at_work_ > 0; }
    /// Readable when a job is done.
    int done_fd() const { return done_out_.get(); }
    /// A job that is done; its descriptor is closed. nullopt: none. Waits for nothing.
    std::optional<SyncJob> take_done();

private:
    // A disk does little more at once, and each thread costs the engine some kB.
    static constexpr size_t kThreads = 3;
    // Each holds a descriptor, and both pipes hold so many for certain.
    static constexpr size_t kMostJobs = 256;

    Syncer() = default;
    static void* work(void* syncer);

    UniqueFd jobs_in_, jobs_out_, done_in_, done_out_;
    std::array<pthread_t, kThreads> threads_{};
    size_t started_ = 0;
    size_t at_work_ = 0;
};

}  // namespace templatefs
