#include "private/node_xattr.h"

#include <cstdio>
#include <cstring>

#include "base/little_endian.h"

namespace templatefs {
namespace {

constexpr uint8_t kVersion = 1;
constexpr uint16_t kFlagIndexed = 1;
constexpr uint16_t kFlagOrigin = 2;
constexpr uint16_t kFlagWhole = 4;
constexpr uint16_t kFlagCtime = 8;
constexpr uint16_t kFlags = kFlagIndexed | kFlagOrigin | kFlagWhole | kFlagCtime;
constexpr size_t kOwnSize = 24;
constexpr size_t kObjectSize = 48;

// A time as ext4 has room for it: seconds from 1901 to 2446 in 34 bits, then nanoseconds in 30.
constexpr int64_t kFirstSecond = -(1LL << 31);
constexpr int64_t kLastSecond = kFirstSecond + (1LL << 34) - 1;

bool fits(const timespec& time) { return time.tv_sec >= kFirstSecond && time.tv_sec <= kLastSecond; }

}  // namespace

EncodedNodeInfo encode(const NodeInfo& info) {
    EncodedNodeInfo encoded{};
    std::byte* at = encoded.bytes.data();
    const bool has_ctime = info.is_link() && info.ctime && fits(*info.ctime);
    uint16_t flags = static_cast<uint16_t>((info.indexed ? kFlagIndexed : 0) | (info.origin != kNoOrigin ? kFlagOrigin : 0) |
                                           (info.is_link() && info.whole ? kFlagWhole : 0) | (has_ctime ? kFlagCtime : 0));
    at[0] = std::byte{kVersion};
    at[1] = static_cast<std::byte>(info.kind);
    store_le<uint16_t>(at + 2, flags);
    store_le<uint32_t>(at + 4, info.tree_links);
    store_le<uint64_t>(at + 8, info.ino);
    store_le<uint32_t>(at + 16, info.origin != kNoOrigin ? info.origin : 0);
    encoded.size = kOwnSize;
    if (info.has_object()) {
        store_le<uint32_t>(at + 20, info.object.variant);
        std::memcpy(at + 24, info.object.hash.data(), 16);
        store_le<uint64_t>(at + 40, info.object.size);
        encoded.size = kObjectSize;
    }
    if (has_ctime) {
        const auto seconds = static_cast<uint64_t>(int64_t{info.ctime->tv_sec} - kFirstSecond);
        store_le<uint64_t>(at + 48, seconds << 30 | static_cast<uint64_t>(info.ctime->tv_nsec));
        encoded.size = kNodeXattrMaxSize;
    }
    return encoded;
}

Result<NodeInfo> decode_node_info(std::span<const std::byte> bytes) {
    constexpr Errno broken(EUCLEAN);
    if (bytes.size() != kOwnSize && bytes.size() != kObjectSize && bytes.size() != kNodeXattrMaxSize) return broken;
    const std::byte* at = bytes.data();
    if (at[0] != std::byte{kVersion} || at[1] > std::byte{2}) return broken;
    NodeInfo info;
    info.kind = static_cast<NodeInfo::Kind>(at[1]);
    if (info.has_object() != (bytes.size() >= kObjectSize)) return broken;
    uint16_t flags = load_le<uint16_t>(at + 2);
    if ((flags & ~kFlags) != 0) return broken;
    info.indexed = (flags & kFlagIndexed) != 0;
    info.whole = (flags & kFlagWhole) != 0;
    const bool has_ctime = (flags & kFlagCtime) != 0;
    if (((info.whole || has_ctime) && !info.is_link()) || has_ctime != (bytes.size() == kNodeXattrMaxSize)) return broken;
    info.tree_links = load_le<uint32_t>(at + 4);
    info.ino = load_le<uint64_t>(at + 8);
    const uint32_t origin = load_le<uint32_t>(at + 16);
    const uint32_t variant = load_le<uint32_t>(at + 20);
    if ((flags & kFlagOrigin) != 0) {
        info.origin = origin;
        if (origin >= kFirstPrivateIno) return broken;
    } else if (origin != 0) {
        return broken;
    }
    if (info.ino == 0 || (!info.has_object() && variant != 0)) return broken;
    if (info.has_object()) {
        info.object.variant = variant;
        std::memcpy(info.object.hash.data(), at + 24, 16);
        info.object.size = load_le<uint64_t>(at + 40);
    }
    if (has_ctime) {
        const auto packed = load_le<uint64_t>(at + 48);
        const auto nanoseconds = static_cast<long>(packed & ((1U << 30) - 1));
        if (nanoseconds >= 1'000'000'000) return broken;
        info.ctime = timespec{static_cast<time_t>(static_cast<int64_t>(packed >> 30) + kFirstSecond), nanoseconds};
    }
    return info;
}

Result<std::optional<NodeInfo>> read_node_info(Place place) {
    std::array<std::byte, kNodeXattrMaxSize> bytes;
    auto size = host_getxattr(place, kNodeXattr, bytes);
    if (!size.ok()) {
        if (size.error_code() == ENODATA) return std::optional<NodeInfo>();
        if (size.error_code() == ERANGE) return Errno(EUCLEAN);
        return size.error();
    }
    NodeInfo info = TRY(decode_node_info(std::span(bytes).first(size.value())));
    return std::optional(info);
}

Result<void> write_node_info(Place place, const NodeInfo& info) {
    return host_setxattr(place, kNodeXattr, encode(info).view(), 0);
}

ObjectPath object_path(const ObjectRef& object) {
    static constexpr char digits[] = "0123456789abcdef";
    ObjectPath path;
    char* out = path.text;
    for (size_t i = 0; i < object.hash.size(); i++) {
        *out++ = digits[object.hash[i] >> 4];
        *out++ = digits[object.hash[i] & 15];
        if (i == 0) *out++ = '/';
    }
    *out = 0;
    if (object.variant != 0) std::snprintf(out, 12, ".%u", object.variant);
    return path;
}

}  // namespace templatefs
