#include "private/partial_file.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <random>
#include <vector>

#include "base/unique_fd.h"
#include "testing/temp_folder.h"

namespace templatefs {
namespace {

using Bytes = std::vector<std::byte>;

Bytes random_bytes(std::mt19937& random, size_t size) {
    Bytes bytes(size);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random() | 1);
    return bytes;
}

// A partial file beside the plain content that it has to show.
struct Pair {
    testing::TempFolder folder;
    UniqueFd object, own;
    Bytes content;
    uint64_t shown;
    uint32_t block;

    Pair(std::mt19937& random, size_t size, uint32_t block_size) : content(random_bytes(random, size)), shown(size), block(block_size) {
        object = open_at(folder.fd(), "object", O_RDWR | O_CREAT, 0600).take();
        own = open_at(folder.fd(), "own", O_RDWR | O_CREAT, 0600).take();
        REQUIRE(::pwrite(object.get(), content.data(), content.size(), 0) == static_cast<ssize_t>(content.size()));
        REQUIRE(::ftruncate(own.get(), static_cast<off_t>(size)) == 0);
    }

    PartialFile file() const { return {own.get(), object.get(), shown, block}; }

    void write(const Bytes& bytes, size_t offset) {
        auto written = write_partial(file(), bytes, offset);
        REQUIRE(written.ok());
        REQUIRE(written.value() == bytes.size());
        if (offset + bytes.size() > content.size()) content.resize(offset + bytes.size());
        std::copy(bytes.begin(), bytes.end(), content.begin() + static_cast<ptrdiff_t>(offset));
    }

    void resize(size_t size) {
        REQUIRE(::ftruncate(own.get(), static_cast<off_t>(size)) == 0);
        shown = std::min<uint64_t>(shown, size);
        content.resize(size);
    }

    void check(size_t offset, size_t size) const {
        Bytes found(size, std::byte{0xee});
        auto read = read_partial(file(), found, offset);
        REQUIRE(read.ok());
        const size_t wanted = offset < content.size() ? std::min(size, content.size() - offset) : 0;
        REQUIRE(read.value() == wanted);
        REQUIRE(std::equal(found.begin(), found.begin() + static_cast<ptrdiff_t>(wanted), content.begin() + static_cast<ptrdiff_t>(std::min(offset, content.size()))));
    }

    // What SEEK_HOLE calls a hole has to be zeros, and data is found wherever there is a byte that is not zero.
    void check_map() const {
        for (uint64_t at = 0; at < content.size();) {
            auto data = seek_partial(file(), at, SEEK_DATA);
            const uint64_t next = data.ok() ? data.value() : content.size();
            REQUIRE((data.ok() || data.error_code() == ENXIO));
            for (uint64_t i = at; i < next; i++) REQUIRE(content[i] == std::byte{0});
            if (!data.ok()) break;
            auto hole = seek_partial(file(), next, SEEK_HOLE);
            REQUIRE(hole.ok());
            REQUIRE(hole.value() > next);
            at = hole.value();
        }
    }
};

TEST_CASE("a partial file shows the object until it is written to") {
    std::mt19937 random(1);
    Pair pair(random, 100'000, 4096);
    CHECK(is_one_hole(pair.own.get()));
    pair.check(0, 100'001);
    pair.write(random_bytes(random, 10), 5000);
    CHECK_FALSE(is_one_hole(pair.own.get()));
    pair.check(0, 100'000);
    // One block became its own, no more.
    CHECK(::lseek(pair.own.get(), 0, SEEK_DATA) == 4096);
    CHECK(::lseek(pair.own.get(), 4096, SEEK_HOLE) == 8192);
    CHECK_FALSE(is_whole(pair.file()).value());
    pair.write(random_bytes(random, 100'000), 0);
    CHECK(is_whole(pair.file()).value());
}

TEST_CASE("what was cut off does not come back") {
    std::mt19937 random(2);
    Pair pair(random, 20'000, 4096);
    pair.resize(5000);
    pair.resize(20'000);
    pair.check(0, 20'000);
    pair.write(random_bytes(random, 3), 6000);
    pair.check(0, 20'000);
    pair.check_map();
}

TEST_CASE("an object that is shorter than it should be is an error, not zeros") {
    std::mt19937 random(3);
    Pair pair(random, 20'000, 4096);
    REQUIRE(::ftruncate(pair.object.get(), 10'000) == 0);
    Bytes found(4096);
    CHECK(read_partial(pair.file(), found, 12'288).error_code() == EIO);
    CHECK(write_partial(pair.file(), std::span(found).first(1), 12'300).error_code() == EIO);
}

TEST_CASE("blocks that are allocated and were never written show the object, also when they are in the page cache") {
    std::mt19937 random(4);
    Pair pair(random, 40'000, 4096);
    const Bytes piece = random_bytes(random, 4096);
    pair.write(piece, 8192);
    if (::fallocate(pair.own.get(), FALLOC_FL_KEEP_SIZE, 12'288, 8192) < 0) return;  // as a power loss may leave it
    Bytes pages(40'000);
    REQUIRE(::pread(pair.own.get(), pages.data(), pages.size(), 0) == 40'000);
    const bool dropped = drop_unwritten(pair.own.get(), pair.shown).value();
    if (!dropped) return;  // tmpfs, where no power loss leaves anything
    CHECK_FALSE(drop_unwritten(pair.own.get(), pair.shown).value());
    CHECK(::lseek(pair.own.get(), 12'288, SEEK_DATA) < 0);
    pair.check(0, 40'000);
    CHECK(::lseek(pair.own.get(), 8192, SEEK_DATA) == 8192);
}

TEST_CASE("random changes of a partial file") {
    for (uint32_t seed = 0; seed < 40; seed++) {
        CAPTURE(seed);
        std::mt19937 random(seed);
        auto below = [&](size_t limit) { return static_cast<size_t>(random() % limit); };
        Pair pair(random, below(60'000) + 1, 4096U << below(3));
        for (int step = 0; step < 120; step++) {
            const size_t size = pair.content.size();
            switch (below(8)) {
                case 0:
                    pair.resize(below(80'000));
                    break;
                case 1:
                    if (const uint64_t end = std::min<uint64_t>(pair.shown, size); end > 0) {
                        const uint64_t from = below(end), to = from + below(end - from + 1);
                        REQUIRE(write_zeros(pair.file(), from, to).ok());
                        std::fill(pair.content.begin() + static_cast<ptrdiff_t>(from), pair.content.begin() + static_cast<ptrdiff_t>(to), std::byte{0});
                    }
                    break;
                case 2:
                    pair.check_map();
                    break;
                case 3:
                    pair.check(below(90'000), below(90'000));
                    break;
                default:
                    pair.write(random_bytes(random, below(step % 3 == 0 ? 20'000 : 200) + 1), below(size + 5000));
            }
        }
        pair.check(0, 100'000);
    }
}

}  // namespace
}  // namespace templatefs
