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

// The kernel gives a stack of the usual size 128 KiB of memory at the first touch.
constexpr size_t kStackBytes = 64 << 10;

Result<pthread_t> start_thread(void* (*run)(void*), void* argument) {
    pthread_attr_t attributes;
    ::pthread_attr_init(&attributes);
    // A sanitizer may need more: then it gets the usual size.
    ::pthread_attr_setstacksize(&attributes, kStackBytes);
    pthread_t thread{};
    int error = ::pthread_create(&thread, &attributes, run, argument);
    if (error == EINVAL) error = ::pthread_create(&thread, nullptr, run, argument);
    ::pthread_attr_destroy(&attributes);
    if (error != 0) return Errno(error);
    return thread;
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
    for (pthread_t& thread : syncer->threads_) {
        thread = TRY(start_thread(work, syncer.get()));
        syncer->started_++;
    }
    return syncer;
}

void* Syncer::work(void* syncer) {
    const auto& self = *static_cast<const Syncer*>(syncer);
    SyncJob job;
    while (read_job(self.jobs_out_.get(), job) == static_cast<ssize_t>(sizeof job)) {
        const int result = job.whole != 0 ? ::fsync(job.fd) : ::fdatasync(job.fd);
        job.error = result < 0 ? errno : 0;
        write_job(self.done_in_.get(), job);
    }
    return nullptr;
}

Syncer::~Syncer() {
    jobs_in_.reset();
    for (size_t i = 0; i < started_; i++) ::pthread_join(threads_[i], nullptr);
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
