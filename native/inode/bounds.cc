// How large the engine's tables may become: docs/security.md, "A container cannot exhaust the host".

#include <sys/uio.h>
#include <unistd.h>

#include <vector>

#include "inode/root.h"
#include "wire/fuse_abi.h"

namespace templatefs {
namespace {

// Nodes that the kernel is asked to forget at once, and how many are looked at to find them.
constexpr uint32_t kPruneBatch = 512;
constexpr uint32_t kLookedAt = 8 * kPruneBatch;

}  // namespace

Result<void> Root::check_node_room() {
    // The kernel was asked to forget long before; what is left is in use by the container's own processes.
    if (header().live_nodes >= uint64_t{max_nodes_} * kHardLimitFactor) return Errno(ENOMEM);
    return {};
}

void Root::keep_bounds() {
    const StateHeader& h = header();
    if (h.backings > kKeptBackings && h.requests >= close_again_) close_idle_backings();
    if (h.live_nodes > max_nodes_ && h.next_nodeid >= prune_again_) prune_nodes();
}

Node* Root::next_node(Slot& hand) {
    if (header().slot_count <= 1) return nullptr;
    if (++hand >= header().slot_count) hand = 1;
    Node* node = nodes_.at(hand);
    return node->nodeid == 0 ? nullptr : node;
}

// Backing files of files that nobody has open are kept for the next open; each is an open file of the host.
void Root::close_idle_backings() {
    for (uint32_t looked_at = 0; looked_at < kLookedAt && header().backings > kKeptBackings; looked_at++) {
        Node* node = next_node(backing_hand_);
        if (node != nullptr && node->backing != 0 && !node->is_open()) close_backing(*node);
    }
    state_.commit();
    close_again_ = header().requests + kPruneBatch;
}

// FUSE_NOTIFY_PRUNE drops what nobody refers to, without waiting for anything that we would have to serve; FORGETs follow.
void Root::prune_nodes() {
    std::vector<uint64_t> nodeids;
    for (uint32_t looked_at = 0; looked_at < kLookedAt && nodeids.size() < kPruneBatch; looked_at++) {
        const Node* node = next_node(prune_hand_);
        if (node == nullptr || is_tree_nodeid(node->nodeid) || node->is_open() || node->lookups == 0 || node->children > 0) continue;
        nodeids.push_back(node->nodeid);
    }
    // More are asked for than come in the meantime.
    prune_again_ = header().next_nodeid + kPruneBatch / 2;
    if (nodeids.empty() || !can_prune_) return;
    NotifyPrune prune{};
    prune.count = static_cast<uint32_t>(nodeids.size());
    fuse_out_header out{};
    out.error = kNotifyPrune;
    out.len = static_cast<uint32_t>(sizeof out + sizeof prune + nodeids.size() * sizeof(uint64_t));
    const iovec parts[] = {{&out, sizeof out}, {&prune, sizeof prune}, {nodeids.data(), nodeids.size() * sizeof(uint64_t)}};
    // Kernels before 7.45 do not know it: then the limit itself is all that is left.
    if (::writev(fuse_, parts, 3) < 0 && errno == EINVAL) can_prune_ = false;
}

}  // namespace templatefs
