#pragma once
#include "inode/root.h"

namespace templatefs {

template <class Visit>
void Root::for_each_node(Visit&& visit) {
    for (Slot slot = 1; slot < header().slot_count; slot++) {
        Node* node = nodes_.at(slot);
        if (node->nodeid != 0) visit(*node);
    }
}

}  // namespace templatefs
