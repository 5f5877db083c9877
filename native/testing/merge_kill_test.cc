// A worker that dies in the middle of a merging.

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "testing/host_faults.h"
#include "testing/merge_fixture.h"

using namespace templatefs;
using namespace templatefs::testing;

// ThreadSanitizer cannot follow a fork of a process with threads.
#ifndef __SANITIZE_THREAD__
TEST_CASE("killed before any call of a merging, a file is private or a link, and whole") {
    ROOT_ONLY;
    for (const bool settles : {true, false}) {
        bool finished = false;
        for (uint64_t number = 1; !finished && number < 100; number++) {
            CAPTURE(number);
            CAPTURE(settles);
            MergeFixture f;
            f.create("/var", "copy", kOne);
            REQUIRE(f.kernel().utimes(f.id("/var/copy"), kLater, 2000).error == 0);
            const fuse_attr before = f.attr("/var/copy");
            const MergeRequest request = f.request("/var/copy", f.store.object(kOne));
            f.check_protocol();
            f.engine->stop();
            f.engine.reset();
            UniqueFd memory = SharedState::create().take();
            const pid_t child = ::fork();
            if (child == 0) {
                SharedState state = SharedState::attach(memory.get()).take();
                Root root(f.store.parts(), state);
                if (!root.recover().ok()) ::_exit(2);
                HostFault fault{};
                fault.number = number;
                fault.kills = true;
                fault.also_looks = true;
                fail_host_call(fault);
                const MergeAnswer answer = root.merge(request, MergeBudget(1'000'000'000));
                ::_exit(answer.kind == MergeAnswer::Kind::Merged ? 0 : 1);
            }
            int status = 0;
            REQUIRE(::waitpid(child, &status, 0) == child);
            finished = WIFEXITED(status);
            if (finished) CHECK(WEXITSTATUS(status) == 0);
            if (settles) {
                auto attached = SharedState::attach(memory.get());
                REQUIRE(attached.error_code() == 0);
                SharedState& state = attached.value();
                REQUIRE(state.header().root_slot != 0);
                Root root(f.store.parts(), state);
                REQUIRE(root.settle().ok());
            }
            f.start();
            CHECK(f.text("/var/copy") == kOne);
            fuse_attr after = f.attr("/var/copy");
            // Without a successor in memory, the next mount knows nothing of the step: docs/durability.md
            if (!settles) {
                after.blocks = before.blocks;
                after.mtime = before.mtime;
                after.mtimensec = before.mtimensec;
                after.ctime = before.ctime;
                after.ctimensec = before.ctimensec;
            }
            if (!f.is_link("/var/copy")) {
                after.ctime = before.ctime;
                after.ctimensec = before.ctimensec;
            }
            check_same(before, after);
            if (settles && f.is_link("/var/copy")) CHECK(f.host_stat_of("/var/copy").st_blocks * 512 < 9'000);
            CHECK(f.merge("/var/copy", kOne).kind == MergeAnswer::Kind::Merged);
            CHECK(f.text("/var/copy") == kOne);
            f.finish();
        }
        CHECK(finished);
    }
}
#endif
