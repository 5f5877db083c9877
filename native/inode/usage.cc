#include "inode/usage.h"

#include "private/allocation.h"

namespace templatefs {

uint64_t Usage::bytes_left() const {
    const UsageState& now = state();
    if (!counts_bytes() || now.limit_bytes == kNoLimit || exempt_ > 0) return kNoLimit;
    return now.limit_bytes > now.used_bytes ? now.limit_bytes - now.used_bytes : 0;
}

Result<void> Usage::check_bytes(uint64_t bytes) const {
    if (bytes > bytes_left()) return Errno(EDQUOT);
    return {};
}

Result<void> Usage::check_entry(uint64_t own_bytes) const {
    const UsageState& now = state();
    if (exempt_ > 0) return {};
    if (now.limit_inodes != kNoLimit && counts() && now.used_inodes >= now.limit_inodes) return Errno(EDQUOT);
    return check_bytes(now.block_size + own_bytes);
}

bool Usage::is_near_limit(uint64_t length) const {
    constexpr uint64_t kMargin = 1 << 20;
    const uint64_t left = bytes_left();
    return left != kNoLimit && (length > left || left - length < kMargin);
}

Result<uint64_t> Usage::writable(int fd, uint64_t offset, uint64_t length) const {
    const uint64_t left = bytes_left();
    const uint64_t block = state().block_size;
    // The usual case costs nothing: it fits even if all of it is new.
    if (left == kNoLimit || length + 2 * block <= left) return length;
    const uint64_t fits = TRY(writable_prefix(fd, offset, length, block, left));
    if (fits == 0 && length > 0) return Errno(EDQUOT);
    return fits;
}

Result<void> Usage::check_allocation(int fd, uint64_t offset, uint64_t length) const {
    const uint64_t left = bytes_left();
    const uint64_t block = state().block_size;
    if (left == kNoLimit || (length <= left && length + 2 * block <= left)) return {};
    if (TRY(writable_prefix(fd, offset, length, block, left)) < length) return Errno(EDQUOT);
    return {};
}

void Usage::change(uint64_t& total, uint64_t minus, uint64_t plus) {
    const uint64_t before = total + plus;
    nodes_.set(total, before > minus ? before - minus : 0);
}

void Usage::count(Node& node, const HostStat& stat) {
    if (!counts()) return;
    UsageState& now = state();
    const uint64_t bytes = allocated_bytes(stat);
    if ((node.flags & kNodeCounted) == 0) {
        nodes_.add_flag(node, kNodeCounted);
        change(now.used_inodes, 0, 1);
        change(now.used_bytes, 0, bytes);
    } else {
        change(now.used_bytes, node.counted, bytes);
    }
    nodes_.set(node.counted, bytes);
}

void Usage::know(Node& node, const HostStat& stat) {
    if (!counts()) return;
    nodes_.add_flag(node, kNodeCounted);
    nodes_.set(node.counted, allocated_bytes(stat));
}

void Usage::add(const HostStat& stat) {
    if (!counts()) return;
    change(state().used_inodes, 0, 1);
    change(state().used_bytes, 0, allocated_bytes(stat));
}

void Usage::drop(Node& node) {
    if (!counts() || (node.flags & kNodeCounted) == 0) return;
    change(state().used_inodes, 1, 0);
    change(state().used_bytes, node.counted, 0);
    nodes_.drop_flag(node, kNodeCounted | kNodeUnsettled);
    nodes_.set(node.counted, 0);
}

void Usage::hand_over(Node& node, Node& heir) {
    if ((node.flags & kNodeCounted) == 0) return;
    nodes_.set(heir.counted, node.counted);
    nodes_.add_flag(heir, kNodeCounted);
    nodes_.drop_flag(node, kNodeCounted | kNodeUnsettled);
}

}  // namespace templatefs
