#include "inode/syncer.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace templatefs {
namespace {

// A job is written and read in one piece: pipe(7) promises it for so few bytes.
static_assert(sizeof(SyncJob) <= 512);

ssize_t read_job(int pipe, SyncJob& job) {
    ssize_t size;
    do size = ::read(pipe, &job, sizeof job);
    while (size < 0 && errno == EINTR);
    return size;
}

void write_job(int pipe, const SyncJob& job) {
    ssize_t size;
    do size = ::write(pipe, &job, sizeof job);
    while (size < 0 && errno == EINTR);
}

void work(int jobs, int done) {
    SyncJob job;
    while (read_job(jobs, job) == static_cast<ssize_t>(sizeof job)) {
        const int result = job.whole != 0 ? ::fsync(job.fd) : ::fdatasync(job.fd);
        job.error = result < 0 ? errno : 0;
        write_job(done, job);
    }
}

Result<void> make_pipe(UniqueFd& out, UniqueFd& in) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) < 0) return Errno::last();
    out = UniqueFd(ends[0]);
    in = UniqueFd(ends[1]);
    return {};
}

}  // namespace

Result<std::unique_ptr<Syncer>> Syncer::start() {
    std::unique_ptr<Syncer> syncer(new Syncer);
    TRY(make_pipe(syncer->jobs_out_, syncer->jobs_in_));
    TRY(make_pipe(syncer->done_out_, syncer->done_in_));
    TRY(checked_void(::fcntl(syncer->done_out_.get(), F_SETFL, O_NONBLOCK)));
    for (std::thread& thread : syncer->threads_) thread = std::thread(work, syncer->jobs_out_.get(), syncer->done_in_.get());
    return syncer;
}

Syncer::~Syncer() {
    jobs_in_.reset();
    for (std::thread& thread : threads_)
        if (thread.joinable()) thread.join();
    while (take_done()) {
    }
}

bool Syncer::take(const SyncJob& job) {
    if (at_work_ >= kMostJobs) return false;
    at_work_++;
    write_job(jobs_in_.get(), job);
    return true;
}

std::optional<SyncJob> Syncer::take_done() {
    SyncJob job;
    if (read_job(done_out_.get(), job) != static_cast<ssize_t>(sizeof job)) return std::nullopt;
    at_work_--;
    ::close(job.fd);
    job.fd = -1;
    return job;
}

}  // namespace templatefs
