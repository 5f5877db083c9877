#include "inode/syncer.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <set>

using namespace templatefs;

namespace {

SyncJob next_done(Syncer& syncer) {
    pollfd wait{syncer.done_fd(), POLLIN, 0};
    REQUIRE(::poll(&wait, 1, 60'000) == 1);
    auto job = syncer.take_done();
    REQUIRE(job.has_value());
    return *job;
}

}  // namespace

TEST_CASE("each fsync is done once, and says how it ended") {
    auto started = Syncer::start();
    REQUIRE(started.ok());
    const auto syncer = started.take();
    CHECK_FALSE(syncer->is_at_work());
    CHECK_FALSE(syncer->take_done().has_value());

    std::set<uint64_t> left;
    for (uint64_t unique = 1; unique <= 100; unique++) {
        SyncJob job;
        job.unique = unique;
        job.whole = unique % 2;
        // A pipe cannot be made durable.
        int ends[2];
        REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
        ::close(ends[1]);
        job.fd = unique % 10 == 0 ? ends[0] : ::open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        if (job.fd != ends[0]) ::close(ends[0]);
        REQUIRE(job.fd >= 0);
        REQUIRE(syncer->take(job));
        left.insert(unique);
    }
    CHECK(syncer->is_at_work());
    while (!left.empty()) {
        const SyncJob job = next_done(*syncer);
        CHECK(left.erase(job.unique) == 1);
        CHECK(job.error == (job.unique % 10 == 0 ? EINVAL : 0));
        CHECK(job.whole == job.unique % 2);
    }
    CHECK_FALSE(syncer->is_at_work());
    CHECK_FALSE(syncer->take_done().has_value());
}

TEST_CASE("a syncer that is full refuses, and one that ends closes what it was given") {
    auto syncer = Syncer::start().take();
    int taken = 0;
    for (; taken < 10'000; taken++) {
        SyncJob job;
        job.fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
        REQUIRE(job.fd >= 0);
        if (!syncer->take(job)) {
            ::close(job.fd);
            break;
        }
    }
    CHECK(taken >= 100);
    CHECK(taken < 10'000);
    const int before = ::dup(0);
    ::close(before);
    syncer.reset();
    const int after = ::dup(0);
    ::close(after);
    CHECK(after < before);
}
