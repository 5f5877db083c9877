#pragma once
#include <sys/types.h>

#include <cstdint>

#include "base/unique_fd.h"
#include "testing/fake_kernel.h"
#include "testing/test_store.h"

namespace templatefs::testing {

// Serves a root of a TestStore to a FakeKernel in a process of its own, which can be killed at any instruction. Another
// takes over its memory, as the holder has it.
class EngineProcess {
public:
    EngineProcess(TestStore& store, FakeKernel& kernel);
    ~EngineProcess();
    EngineProcess(const EngineProcess&) = delete;
    EngineProcess& operator=(const EngineProcess&) = delete;

    // SIGKILL to the worker; the next one starts with its memory, and the kernel sends again what it had not answered.
    void replace_worker();
    // Ends the conversation; a clean end writes back what the engine keeps in memory.
    void stop();
    // As stop, but by SIGKILL and with the memory gone: what a crash of the holder leaves.
    void kill();

    // What the engine has counted. Only when it rests.
    UsageState usage() const;

    unsigned replaced() const { return replaced_; }

private:
    void start(bool first);
    void end(int signal);

    TestStore& store_;
    FakeKernel& kernel_;
    UniqueFd memory_;
    pid_t worker_ = -1;
    unsigned replaced_ = 0;
};

}  // namespace templatefs::testing
