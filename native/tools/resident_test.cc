#include "tools/resident.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "base/unique_fd.h"
#include "testing/temp_folder.h"

using namespace templatefs;
using templatefs::testing::TempFolder;

TEST_CASE("resident_bytes counts the cached pages of a file") {
    TempFolder folder;
    folder.write("file", std::string(1'000'001, 'x'));
    uint64_t whole = (1'000'001u + 4095) / 4096 * 4096;
    CHECK(resident_bytes(folder.at("file").c_str()).value() == whole);

    UniqueFd fd = open_at(folder.fd(), "file", O_RDONLY).take();
    CHECK(resident_by_mincore(fd.get(), 1'000'001).value() == whole);
    auto by_cachestat = resident_by_cachestat(fd.get(), 1'000'001);
    if (by_cachestat.ok()) CHECK(by_cachestat.value() == whole);
    else CHECK(by_cachestat.error_code() == ENOSYS);

    REQUIRE(::fsync(fd.get()) == 0);
    REQUIRE(::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED) == 0);
    CHECK(resident_bytes(folder.at("file").c_str()).value() < whole);
    CHECK(resident_by_mincore(fd.get(), 1'000'001).value() < whole);
}

TEST_CASE("resident_bytes of an empty file, of what is no file, of what is not there") {
    TempFolder folder;
    folder.write("empty", std::string());
    CHECK(resident_bytes(folder.at("empty").c_str()).value() == 0);
    CHECK(resident_bytes(folder.path().c_str()).error_code() == EINVAL);
    CHECK(resident_bytes(folder.at("none").c_str()).error_code() == ENOENT);
    CHECK(resident_bytes("").error_code() == ENOENT);
    REQUIRE(::mkfifoat(folder.fd(), "pipe", 0600) == 0);
    CHECK(resident_bytes(folder.at("pipe").c_str()).error_code() == EINVAL);
    REQUIRE(::symlinkat("empty", folder.fd(), "link") == 0);
    CHECK(resident_bytes(folder.at("link").c_str()).error_code() == EINVAL);
}
