// Stores through a mapping that outlives its descriptor.
//
// By passthrough a mapping belongs to the private file on the host, not to the descriptor that it was made with: after
// close(2) programs may go on storing, and the kernel tells FUSE nothing of it. So attributes of such a file may be kept
// only when nobody has it mapped for writing any more. The host knows: it gives no read lease on a file that is open for
// writing anywhere, and a writable shared mapping keeps it open.

#include <fcntl.h>
#include <unistd.h>

#include "inode/root.h"

namespace templatefs {

void Root::note_writable_close(Node& node) {
    if ((node.flags & (kNodePrivate | kNodeCached)) == kNodePrivate) nodes_.add_flag(node, kNodeLateStores);
}

bool Root::may_change_unseen(const File& file) {
    if (file.node == nullptr) return false;
    Node& node = *file.node;
    if (node.writers > 0) return true;
    if ((node.flags & kNodeLateStores) == 0) return false;
    if ((node.flags & kNodeDeleted) != 0) return false;  // nobody can look at it but who has it open
    // With opens (for reading) a lease could stand in the way of the next one. Ours would be in its own way.
    if (node.opens > 0) return true;
    open_files_.erase(node.nodeid);
    auto at = place(node);
    if (!at.ok()) return true;
    Place where = at.value();
    auto fd = open_at(where.folder, where.name, O_RDONLY | O_NONBLOCK);
    // Closing the descriptor gives the lease back. Without CAP_LEASE, or on a file system that has no leases, the
    // attributes are asked for each time: slower, and right.
    if (!fd.ok() || ::fcntl(fd.value().get(), F_SETLEASE, F_RDLCK) < 0) return true;
    nodes_.drop_flag(node, kNodeLateStores);
    return false;
}

}  // namespace templatefs
