// Opening content, backing files of the kernel's passthrough, and what keeps a Node alive.

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>

#include "inode/caller.h"
#include "inode/root.h"
#include "wire/fuse_abi.h"

namespace templatefs {
Result<UniqueFd> Root::open_object(const ObjectRef& object, int flags) {
    auto fd = open_at(objects_.get(), object_path(object).text, flags);
    // The tree or a link names an object that is not there: the store is broken, not the container's path.
    if (!fd.ok() && fd.error_code() == ENOENT) return Errno(EIO);
    return fd;
}

Result<UniqueFd> Root::open_content(const File& file, int flags) {
    if (file.is_private()) {
        PinnedPlace at = TRY(place(*file.node));
        Place where = at;
        if ((file.node->flags & kNodeLink) == 0) return open_at(where.folder, where.name, flags);
        NodeInfo info = TRY(node_info(where));
        if (!info.is_link()) return Errno(EUCLEAN);
        return open_object(info.object, flags);
    }
    if (file.tree.data_a == kNoObject) return Errno(ENODATA);
    ObjectRef object = TRY(tree_.object(file.tree));
    return open_object(object, flags);
}

Result<bool> Root::is_shared_path(const File& file) {
    NodeIndex at = file.index;
    if (at == kNoOrigin) {
        // A link to what the container itself once wrote: where it lies says which it is. Of several names none is the right one.
        if (file.node == nullptr || (file.node->flags & kNodeIndexed) != 0) return false;
        for (Slot parent = file.node->parent; parent != 0 && at == kNoOrigin; parent = nodes_.at(parent)->parent)
            at = nodes_.at(parent)->origin;
        if (at == kNoOrigin) return false;
    }
    for (uint32_t depth = 0; depth <= tree_.node_count(); depth++) {
        if (std::binary_search(shared_folders_.begin(), shared_folders_.end(), at)) return true;
        if (at == 0) return false;
        at = TRY(tree_node(at)).parent;
    }
    return Errno(EUCLEAN);
}

void Root::find_shared_folders(const SharedPaths& paths) {
    for (const std::string& path : paths) {
        NodeIndex at = 0;
        auto node = tree_node(0);
        std::string_view rest = path;
        bool found = node.ok();
        while (found && !rest.empty()) {
            size_t start = rest.find_first_not_of('/');
            if (start == std::string_view::npos) break;
            rest.remove_prefix(start);
            std::string_view name = rest.substr(0, rest.find('/'));
            rest.remove_prefix(name.size());
            auto child = tree_.child(at, node.value(), name);
            found = child.ok();
            if (!found) break;
            at = child.value().index;
            node = child.value().node;
        }
        if (found) shared_folders_.push_back(at);
    }
    std::sort(shared_folders_.begin(), shared_folders_.end());
}

Result<int32_t> Root::backing(const File& file) {
    Node& node = *file.node;
    if (node.backing != 0) return node.backing;
    if (header().passthrough == 0 || is_partial(file)) return Errno(EOPNOTSUPP);
    UniqueFd fd = TRY(open_content(file, O_PATH));
    fuse_backing_map map{};
    map.fd = fd.get();
    int id = ::ioctl(fuse_, FUSE_DEV_IOC_BACKING_OPEN, &map);
    if (id < 0) return Errno::last();
    nodes_.set(node.backing, id);
    nodes_.set(header().backings, header().backings + 1);
    return id;
}

void Root::close_backing(Node& node) {
    if (node.backing == 0) return;
    auto id = static_cast<uint32_t>(node.backing);
    nodes_.set(node.backing, 0);
    nodes_.set(header().backings, header().backings - 1);
    // Forgotten before it is closed: a number that we still believed in might be given to another file.
    state_.commit();
    // Opens that use it keep their own reference.
    (void)::ioctl(fuse_, FUSE_DEV_IOC_BACKING_CLOSE, &id);
}

void Root::opened(Node& node, bool writable) {
    nodes_.set(node.opens, node.opens + 1);
    nodes_.set(header().opens, header().opens + 1);
    if (!writable) return;
    nodes_.set(node.writers, node.writers + 1);
    end_comparison(node);
    note_change();
}

void Root::closed(Node& node, bool writable) {
    if (node.opens == 0) return;
    nodes_.set(node.opens, node.opens - 1);
    nodes_.set(header().opens, header().opens - 1);
    if (writable) note_change();
    if (writable && node.writers > 0) nodes_.set(node.writers, node.writers - 1);
    if ((node.flags & kNodeSuperseded) != 0) {
        if (Node* current = nodes_.find_ino(node.ino); current != nullptr && current->old_opens > 0) {
            nodes_.set(current->old_opens, current->old_opens - 1);
            remove_unused(*current);
        }
    }
    if (node.opens > 0) return;
    if ((node.flags & kNodeBroken) != 0) {
        nodes_.drop_flag(node, kNodeBroken);
        close_backing(node);
    }
    nodes_.drop_flag(node, kNodeCached);
    open_files_.erase(node.nodeid);
    if ((node.flags & kNodeOwnBacking) != 0) release_own_backing(node);
    remove_unused(node);
}

// A file without names goes with its last open.
void Root::remove_unused(Node& node) {
    constexpr uint32_t kGone = kNodeDeleted | kNodePrivate | kNodeIndexed;
    if (node.is_open() || (node.flags & kGone) != kGone || (node.flags & kNodeSuperseded) != 0) return;
    InodeName name(node.ino);
    Place at{area_.inodes(), name.text};
    auto stat = host_stat(at);
    close_backing(node);
    if (stat.ok()) (void)bury(node, stat.value()).ok();
    (void)host_unlink(at).ok();
    usage_.drop(node);
    nodes_.drop_flag(node, kNodeIndexed);
}

Result<void> Root::bury(Node& node, const HostStat& stat) {
    Tombstone tombstone{};
    tombstone.mode = stat.stx_mode;
    tombstone.uid = stat.stx_uid;
    tombstone.gid = stat.stx_gid;
    tombstone.size = stat.stx_size;
    tombstone.atime = stat.stx_atime.tv_sec;
    tombstone.atime_nsec = stat.stx_atime.tv_nsec;
    tombstone.mtime = stat.stx_mtime.tv_sec;
    tombstone.mtime_nsec = stat.stx_mtime.tv_nsec;
    tombstone.ctime = stat.stx_ctime.tv_sec;
    tombstone.ctime_nsec = stat.stx_ctime.tv_nsec;
    return nodes_.bury(node, tombstone);
}

void Root::forget(uint64_t nodeid, uint64_t count) {
    Node* node = nodes_.find(nodeid);
    if (node == nullptr || nodeid == kRootNodeid) return;
    if (is_tree_nodeid(nodeid)) {
        // It may have been looked up before it had a Node, so the count says nothing. Unless it is private, nothing is
        // lost with the Node. Private ones stay: a wrong guess would show the tree's file again.
        if ((node->flags & kNodePrivate) == 0 && node->opens == 0) release_node(*node);
        return;
    }
    nodes_.set(node->lookups, node->lookups > count ? node->lookups - count : 0);
    while (node != nullptr && !is_tree_nodeid(node->nodeid) && node->lookups == 0 && node->opens == 0 && node->children == 0) {
        Node* parent = node->parent != 0 ? nodes_.at(node->parent) : nullptr;
        release_node(*node);
        node = parent;
    }
}

void Root::release_node(Node& node) {
    settle_content(node);
    close_backing(node);
    dirs_.erase(node.nodeid);
    open_files_.erase(node.nodeid);
    nodes_.remove(node);
}

Result<void> Root::clear_set_id(const File& file, uint32_t pid, bool may_be_chown, bool may_keep) {
    PinnedPlace at = TRY(place(*file.node));
    HostStat stat = TRY(host_stat(at));
    if ((stat.stx_mode & (S_ISUID | S_ISGID)) == 0) return {};
    const auto caller = Caller::read(pid);
    if (may_keep && caller && caller->may_keep_set_id()) return {};
    // As setattr_should_drop_suidgid() in fs/attr.c.
    uint32_t kept = stat.stx_mode & ~uint32_t{S_ISUID};
    const auto uid = id_outside(ids_.uids, stat.stx_uid);
    const bool keeps = caller && caller->may_keep_set_gid(uid, id_outside(ids_.gids, stat.stx_gid));
    if ((kept & S_ISGID) != 0 && ((kept & S_IXGRP) != 0 || !keeps)) kept &= ~uint32_t{S_ISGID};
    if (kept == stat.stx_mode) return {};
    // Nobody has it open for writing, so this is no write: it is a chown that changes nothing else, and not
    // everybody may do that.
    if (may_be_chown && file.node->writers == 0 && !(caller && caller->owns(uid))) return Errno(EPERM);
    return host_chmod(at, kept);
}

Result<void> Root::set_xattr(Node& node, std::string_view name, std::span<const std::byte> value, int flags) {
    PinnedPlace at = TRY(place(node));
    // Worst case: it goes to a block of its own.
    TRY(usage_.check_bytes(std::max<uint64_t>(usage_.state().block_size, value.size())));
    note_ctime(node);
    if ((flags & XATTR_CREATE) == 0) {
        auto replaced = host_setxattr(at, name.data(), value, flags);
        count_node(node);
        return replaced;
    }
    // Done twice it would fail the second time, so it is a step that is written down.
    auto present = host_getxattr(at, name.data(), {});
    if (present.ok()) return Errno(EEXIST);
    Intent intent{};
    intent.kind = IntentKind::SetXattr;
    intent.ino = node.ino;
    intent.set_name(name);
    state_.arm(intent);
    auto set = host_setxattr(at, name.data(), value, flags);
    end_step(intent, set.ok());
    return set;
}

Result<void> Root::remove_xattr(Node& node, std::string_view name) {
    PinnedPlace at = TRY(place(node));
    (void)TRY(host_getxattr(at, name.data(), {}));
    note_ctime(node);
    Intent intent{};
    intent.kind = IntentKind::RemoveXattr;
    intent.ino = node.ino;
    intent.set_name(name);
    state_.arm(intent);
    auto removed = host_removexattr(at, name.data());
    end_step(intent, removed.ok());
    return removed;
}

void Root::note_acl_change(const Node& node) {
    if (DirRef known = dirs_.find(node.nodeid)) known->default_acl = DirHandle::DefaultAcl::Unknown;
}

void Root::forget_attributes(uint64_t nodeid) {
    struct {
        fuse_out_header header;
        fuse_notify_inval_inode_out inode;
    } message{};
    message.header.len = sizeof message;
    message.header.error = FUSE_NOTIFY_INVAL_INODE;
    message.inode.ino = nodeid;
    message.inode.off = -1;  // attributes only
    // ENOENT: the kernel has no such inode, so nothing to forget.
    (void)!::write(fuse_, &message, sizeof message);
}

}  // namespace templatefs
