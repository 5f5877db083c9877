#pragma once
#include <atomic>
#include <optional>
#include <thread>

#include "inode/root.h"
#include "inode/shared_state.h"
#include "session/session.h"
#include "testing/fake_kernel.h"
#include "testing/test_store.h"

namespace templatefs::testing {

// Serves a root of a TestStore to a FakeKernel in a thread of its own, as the engine's worker does.
class EngineThread {
public:
    EngineThread(TestStore& store, FakeKernel& kernel);
    // Waits for the end of the conversation: hang up first, or let the destructor do it.
    ~EngineThread();
    EngineThread(const EngineThread&) = delete;
    EngineThread& operator=(const EngineThread&) = delete;

    void stop();
    // As `stop`, but as after SIGKILL: nothing is written back.
    void kill();
    // Only between an answer and the next request: they wait until the engine has done what it does after an answer.
    StateHeader& header() { return rested().state_->header(); }
    UsageState usage() { return header().usage; }
    Root& root() { return *rested().root_; }

private:
    void start();
    EngineThread& rested();

    FakeKernel& kernel_;
    UniqueFd memory_;
    std::optional<SharedState> state_;
    std::optional<Root> root_;
    std::optional<Session> session_;
    std::thread thread_;
    std::atomic<bool> rests_ = true;
};

}  // namespace templatefs::testing
