#include "testing/engine_thread.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

namespace templatefs::testing {

EngineThread::EngineThread(TestStore& store, FakeKernel& kernel) : kernel_(kernel), memory_(SharedState::create().take()) {
    state_.emplace(SharedState::attach(memory_.get()).take());
    root_.emplace(store.parts(), *state_);
    if (auto recovered = root_->recover(); !recovered.ok()) {
        std::fprintf(stderr, "engine_thread: cannot recover: errno %d\n", recovered.error_code());
        std::abort();
    }
    start();
}

void EngineThread::start() {
    ::signal(SIGPIPE, SIG_IGN);
    session_.emplace(*root_, kernel_.engine_fd(), SessionOptions{.passthrough = false});
    thread_ = std::thread([this] {
        pollfd wait{kernel_.engine_fd(), POLLIN, 0};
        for (;;) {
            rests_ = true;
            while (::poll(&wait, 1, -1) < 0 && errno == EINTR) {
            }
            rests_ = false;
            auto step = session_->step();
            // A socket says so in other words than /dev/fuse.
            if (!step.ok() && (step.error_code() == EPIPE || step.error_code() == ECONNRESET)) return;
            if (!step.ok()) {
                std::fprintf(stderr, "engine_thread: errno %d\n", step.error_code());
                std::abort();
            }
            if (step.value() == Session::Step::Ended) return;
        }
    });
}

void EngineThread::kill() {
    kernel_.hang_up();
    if (thread_.joinable()) thread_.join();
    rests_ = true;
}

EngineThread& EngineThread::rested() {
    while (!rests_) std::this_thread::yield();
    return *this;
}

void EngineThread::stop() {
    kill();
    root_->finish();
}

EngineThread::~EngineThread() { kill(); }

}  // namespace templatefs::testing
