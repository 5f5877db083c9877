#include "private/node_xattr.h"

#include <cstdio>
#include <cstring>

#include "base/little_endian.h"

namespace templatefs {
namespace {

constexpr uint8_t kVersion = 1;
constexpr uint16_t kFlagIndexed = 1;
constexpr uint16_t kFlagOrigin = 2;
constexpr size_t kOwnSize = 24;

}  // namespace

EncodedNodeInfo encode(const NodeInfo& info) {
    EncodedNodeInfo encoded{};
    std::byte* at = encoded.bytes.data();
    uint16_t flags = static_cast<uint16_t>((info.indexed ? kFlagIndexed : 0) | (info.origin != kNoOrigin ? kFlagOrigin : 0));
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
        encoded.size = kNodeXattrMaxSize;
    }
    return encoded;
}

Result<NodeInfo> decode_node_info(std::span<const std::byte> bytes) {
    constexpr Errno broken(EUCLEAN);
    if (bytes.size() != kOwnSize && bytes.size() != kNodeXattrMaxSize) return broken;
    const std::byte* at = bytes.data();
    if (at[0] != std::byte{kVersion} || at[1] > std::byte{2}) return broken;
    NodeInfo info;
    info.kind = static_cast<NodeInfo::Kind>(at[1]);
    if (info.has_object() != (bytes.size() == kNodeXattrMaxSize)) return broken;
    uint16_t flags = load_le<uint16_t>(at + 2);
    if ((flags & ~(kFlagIndexed | kFlagOrigin)) != 0) return broken;
    info.indexed = (flags & kFlagIndexed) != 0;
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
