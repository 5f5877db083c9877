#include "testing/engine_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>

#include "session/session.h"

namespace templatefs::testing {
namespace {

// The worker's whole life. Returns its exit status: 3 when it could not start, 4 when the device failed.
int serve(TestStore& store, FakeKernel& kernel, int memory, bool first) {
    auto state = SharedState::attach(memory);
    if (!state.ok()) return 3;
    Root root(store.parts(), state.value());
    auto ready = first ? root.recover() : root.settle();
    if (!ready.ok()) return 3;
    Session session(root, kernel.engine_fd(), {.passthrough = false});
    if (!first && !session.request_resend().ok()) return 4;
    for (;;) {
        auto step = session.step();
        if (!step.ok()) return step.error_code() == EPIPE || step.error_code() == ECONNRESET ? 0 : 4;
        if (step.value() == Session::Step::Ended) break;
    }
    root.finish();
    return 0;
}

}  // namespace

EngineProcess::EngineProcess(TestStore& store, FakeKernel& kernel)
    : store_(store), kernel_(kernel), memory_(SharedState::create().take()) {
    start(true);
}

void EngineProcess::start(bool first) {
    worker_ = ::fork();
    if (worker_ < 0) {
        std::perror("fork");
        std::abort();
    }
    if (worker_ == 0) {
        ::signal(SIGPIPE, SIG_IGN);
        kernel_.hang_up();
        ::_exit(serve(store_, kernel_, memory_.get(), first));
    }
}

void EngineProcess::replace_worker() {
    ::kill(worker_, SIGKILL);
    ::waitpid(worker_, nullptr, 0);
    replaced_++;
    // What the worker had sent has arrived. What it had not read, the next one reads, once.
    kernel_.settle(0);
    size_t notifications = kernel_.notifications().size();
    start(false);
    for (int i = 0; i < 1000 && kernel_.notifications().size() == notifications; ++i) kernel_.settle(10);
    kernel_.resend();
}

void EngineProcess::end(int signal) {
    if (worker_ < 0) return;
    if (signal != 0) ::kill(worker_, signal);
    kernel_.hang_up();
    int status = 0;
    ::waitpid(worker_, &status, 0);
    worker_ = -1;
    if (signal == 0 && status != 0) {
        std::fprintf(stderr, "engine_process: the worker ended with %s %d\n", WIFSIGNALED(status) ? "signal" : "status",
                     WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        std::abort();
    }
}

UsageState EngineProcess::usage() const {
    UsageState usage{};
    if (::pread(memory_.get(), &usage, sizeof usage, offsetof(StateHeader, usage)) != sizeof usage) std::abort();
    return usage;
}

void EngineProcess::stop() { end(0); }
void EngineProcess::kill() { end(SIGKILL); }

EngineProcess::~EngineProcess() { end(SIGKILL); }

}  // namespace templatefs::testing
