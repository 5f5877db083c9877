#include "session/patience.h"

#include <doctest/doctest.h>

using templatefs::Patience;

namespace {

constexpr int64_t kSoon = Patience::kWindowNs / 4;

// One wait that ends after `gap`. How long was it looked for?
int64_t wait(Patience& patience, int64_t& now, int64_t gap) {
    const int64_t start = now;
    int64_t looked = 0;
    while (patience.look_again(now)) {
        looked = now - start;
        if (looked >= gap) break;
        now += 1000;
    }
    now = start + gap > now ? start + gap : now;
    CHECK(patience.was_idle());
    patience.found(now);
    CHECK_FALSE(patience.was_idle());
    now += 3000;
    return looked;
}

}  // namespace

TEST_CASE("a worker waits awake only while requests come fast") {
    Patience patience;
    int64_t now = 1'000'000;
    SUBCASE("it sleeps at first, and looks again once a request has come soon") {
        CHECK(wait(patience, now, kSoon) == 0);
        CHECK(wait(patience, now, kSoon) >= kSoon);
    }
    SUBCASE("rare requests never keep it awake") {
        for (int i = 0; i < 100; i++) CHECK(wait(patience, now, 10 * Patience::kWindowNs) == 0);
    }
    SUBCASE("it never looks for longer than the window, and gives up when that was in vain") {
        for (int i = 0; i < 50; i++) wait(patience, now, kSoon);
        int64_t wasted = 0;
        for (int i = 0; i < 50; i++) {
            const int64_t looked = wait(patience, now, 100 * Patience::kWindowNs);
            CHECK(looked <= Patience::kWindowNs);
            wasted += looked;
        }
        CHECK(wasted <= 4 * Patience::kWindowNs);
        CHECK(wait(patience, now, 100 * Patience::kWindowNs) == 0);
    }
    SUBCASE("requests that mostly come late do not pay") {
        int64_t looked = 0;
        for (int i = 0; i < 1000; i++) looked += wait(patience, now, i % 4 == 0 ? kSoon : 50 * Patience::kWindowNs) > kSoon ? 1 : 0;
        CHECK(looked < 350);
    }
}
