#include <doctest/doctest.h>

#include <array>
#include <string>

#include "wire/opcodes.h"
#include "wire/reply.h"
#include "wire/request.h"

using namespace templatefs;

namespace {

std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

}  // namespace

TEST_CASE("a reader never goes beyond the request") {
    std::string text("\1\0\0\0ab\0cd", 9);
    ArgumentReader reader(bytes(text));
    CHECK(reader.take<uint32_t>().take() == 1);
    CHECK(reader.take_string().take() == "ab");
    CHECK(reader.take_string().error_code() == EINVAL);  // no NUL
    CHECK(reader.left() == 2);
    CHECK(reader.take<uint32_t>().error_code() == EINVAL);
    CHECK(reader.take_bytes(3).error_code() == EINVAL);
    CHECK(reader.take_bytes(SIZE_MAX).error_code() == EINVAL);
    CHECK(reader.take_bytes(2).take().size() == 2);
    CHECK(reader.take_string().error_code() == EINVAL);
    CHECK(reader.take<uint8_t>().error_code() == EINVAL);
    CHECK(ArgumentReader().take_string().error_code() == EINVAL);
}

TEST_CASE("names that a container may choose, and others") {
    auto name = [](std::string text) {
        text += '\0';
        return ArgumentReader(bytes(text)).take_name().error_code();
    };
    CHECK(name("a") == 0);
    CHECK(name("...") == 0);
    CHECK(name("\xff\x01 %") == 0);
    CHECK(name(std::string(255, 'n')) == 0);
    CHECK(name(std::string(256, 'n')) == ENAMETOOLONG);
    CHECK(name("") == EINVAL);
    CHECK(name(".") == EINVAL);
    CHECK(name("..") == EINVAL);
    CHECK(name("a/b") == EINVAL);
    CHECK(name("/") == EINVAL);
}

TEST_CASE("a request says its true length") {
    fuse_in_header header{};
    header.len = sizeof header;
    auto whole = std::as_bytes(std::span(&header, 1));
    CHECK(Request::parse(whole).ok());
    for (size_t size = 0; size < sizeof header; ++size) REQUIRE(Request::parse(whole.first(size)).error_code() == EINVAL);
    header.len += 1;
    CHECK(Request::parse(whole).error_code() == EINVAL);
    header.len = 0;
    CHECK(Request::parse(whole).error_code() == EINVAL);
}

TEST_CASE("a reply that does not fit becomes an error") {
    std::array<std::byte, 64> buffer;
    Reply reply{std::span(buffer)};
    reply.reset();
    CHECK_FALSE(reply.answered());
    reply.put(uint64_t{1});
    CHECK(reply.payload_size() == 8);
    reply.put_bytes(std::array<char, 100>{}.data(), 100);
    CHECK(reply.error() == EIO);
    CHECK(reply.message(7).size() == sizeof(fuse_out_header));
    fuse_out_header header;
    std::memcpy(&header, buffer.data(), sizeof header);
    CHECK(header.len == sizeof header);
    CHECK(header.error == -EIO);
    CHECK(header.unique == 7);
    reply.reset();
    reply.fail(Errno(ENOENT));
    CHECK(reply.payload_size() == 0);
    CHECK(reply.answered());
}

TEST_CASE("the opcode table") {
    CHECK(find_opcode(FUSE_LOOKUP)->name == "lookup");
    CHECK(find_opcode(0) == nullptr);
    CHECK(find_opcode(63) == nullptr);
    CHECK(find_opcode(64) == nullptr);
    CHECK(find_opcode(UINT32_MAX) == nullptr);
    for (const auto& info : kOpcodes) {
        CAPTURE(info.name);
        CHECK(find_opcode(info.opcode) == &info);
    }
}
