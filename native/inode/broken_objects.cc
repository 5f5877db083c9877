// Objects that a check has found broken, and that were mended since. Opening an object that was set aside fails by itself:
// its name is gone. What is left to do is to give up what the engine and the kernel have of it already.

#include <sys/stat.h>

#include "inode/each_node.h"
#include "inode/root.h"

namespace templatefs {
namespace {

bool is_same(const ObjectRef& a, const ObjectRef& b) { return a.hash == b.hash && a.variant == b.variant; }

}  // namespace

// The object whose content a Node shows, in whole or in part.
Result<std::optional<ObjectRef>> Root::shown_object(Node& node) {
    std::optional<ObjectRef> none;
    if ((node.flags & kNodeSuperseded) != 0 || nodes_.tombstone(node) != nullptr) return none;
    File shown = TRY(file(node.nodeid));
    if (!S_ISREG(shown.type())) return none;
    if (shown.is_private()) {
        if ((node.flags & (kNodeLink | kNodePartial)) == 0) return none;
        NodeInfo info = TRY(node_info(TRY(place(node))));
        return info.has_object() ? std::optional(info.object) : none;
    }
    if (shown.tree.data_a == kNoObject) return none;
    return std::optional(TRY(tree_.object(shown.tree)));
}

Result<Root::LostObject> Root::lose_object(const ObjectRef& object) {
    LostObject lost;
    for_each_node([&](Node& node) {
        auto shown = shown_object(node);
        if (!shown.ok() || !shown.value() || !is_same(*shown.value(), object)) return;
        // Its opens read what it has of its own.
        if ((node.flags & kNodeOwnBacking) != 0) return;
        open_files_.erase(node.nodeid);
        lost.nodeids.push_back(node.nodeid);
        if (node.backing == 0) return;
        if (node.opens == 0) return close_backing(node);
        // Those opens go past the engine, and the kernel takes no other file for this nodeid as long as they live.
        nodes_.add_flag(node, kNodeBroken);
        lost.opens += node.opens;
    });
    // Files without a Node: the kernel may still have pages of them.
    for (uint32_t number = 0; number < tree_.totals().object_count; number++) {
        if (!is_same(TRY(tree_.object_at(number)), object)) continue;
        for (NodeIndex index = 0; index < tree_.node_count(); index++) {
            TreeNode node = TRY(tree_node(index));
            if (node.is_regular() && node.data_a == number) lost.nodeids.push_back(uint64_t{index} + 1);
        }
        break;
    }
    state_.commit();
    return lost;
}

void Root::regain_object(const ObjectRef& object) {
    for_each_node([&](Node& node) {
        if ((node.flags & kNodeBroken) == 0) return;
        auto shown = shown_object(node);
        if (shown.ok() && shown.value() && is_same(*shown.value(), object)) nodes_.drop_flag(node, kNodeBroken);
    });
    state_.commit();
}

}  // namespace templatefs
