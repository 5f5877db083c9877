// A request that crashes each worker: the worker dies in the middle of it, in a process of its own, and the next one gets it again.

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "session/deadly_request.h"
#include "session/session.h"
#include "testing/fake_kernel.h"
#include "testing/test_store.h"

using namespace templatefs;
using namespace templatefs::testing;

namespace {

constexpr uint64_t kDeadly = 4711 * 2;

struct Worker {
    SharedState state;
    Root root;
    Session session;

    Worker(TestStore& store, int memory)
        : state(SharedState::attach(memory).take()), root(store.parts(), state), session(root, -1, SessionOptions{.passthrough = false}) {
        root.header().initialized = 2;
    }

    // The errno of the answer.
    int lookup(uint64_t unique, const char* name) {
        std::byte message[256]{};
        fuse_in_header header{};
        header.len = static_cast<uint32_t>(sizeof header + std::strlen(name) + 1);
        header.opcode = FUSE_LOOKUP;
        header.unique = unique;
        header.nodeid = 1;
        std::memcpy(message, &header, sizeof header);
        std::memcpy(message + sizeof header, name, std::strlen(name) + 1);
        auto answer = session.serve(std::span(message).first(header.len));
        fuse_out_header out;
        std::memcpy(&out, answer.data(), sizeof out);
        return -out.error;
    }
};

// As a holder: a worker serves the request in a child, and dies of `signal` in the middle of it.
void let_die(TestStore& store, int memory, uint64_t unique, int signal) {
    const pid_t child = ::fork();
    if (child == 0) {
        for (int number : {SIGSEGV, SIGBUS, SIGABRT}) ::signal(number, SIG_DFL);
        Worker worker(store, memory);
        const Serving serving(worker.root.header(), unique & ~kUniqueResend, FUSE_LOOKUP);
        ::kill(::getpid(), signal);
        ::_exit(0);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFSIGNALED(status));
    SharedState state = SharedState::attach(memory).take();
    note_end(state.header(), WTERMSIG(status) != SIGKILL);
}

struct Bench {
    TestStore store;
    UniqueFd memory = SharedState::create().take();

    Bench() {
        TreeBuilder tree;
        store.add_file(tree, "/motd", "welcome\n");
        store.finish(tree);
        Worker first(store, memory.get());
        REQUIRE(first.root.recover().ok());
    }
    int lookup(uint64_t unique, const char* name) { return Worker(store, memory.get()).lookup(unique, name); }
};

}  // namespace

TEST_CASE("a request that crashes worker after worker is answered EIO, and others go on") {
    if (!is_root()) return;
    Bench bench;
    for (uint32_t death = 0; death < kMaxDeaths; death++) {
        // Not before: one of them might have answered.
        CHECK(bench.lookup(kDeadly + 2, "motd") == 0);
        let_die(bench.store, bench.memory.get(), kDeadly | kUniqueResend, SIGSEGV);
    }
    CHECK(bench.lookup(kDeadly | kUniqueResend, "motd") == EIO);
    CHECK(bench.lookup(kDeadly + 4, "motd") == 0);
}

TEST_CASE("kills from outside and crashes at other requests do not add up") {
    if (!is_root()) return;
    Bench bench;
    const int memory = bench.memory.get();
    for (int i = 0; i < 20; i++) let_die(bench.store, memory, kDeadly, SIGKILL);
    for (uint32_t i = 1; i < kMaxDeaths; i++) let_die(bench.store, memory, kDeadly, SIGABRT);
    let_die(bench.store, memory, kDeadly + 2, SIGSEGV);
    for (uint32_t i = 1; i < kMaxDeaths; i++) let_die(bench.store, memory, kDeadly, SIGABRT);
    CHECK(bench.lookup(kDeadly, "motd") == 0);
    // It was answered: what crashes later has another number.
    let_die(bench.store, memory, kDeadly, SIGABRT);
    CHECK(bench.lookup(kDeadly, "motd") == EIO);
}
