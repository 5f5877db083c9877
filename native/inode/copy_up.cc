// How a file of the tree becomes private.
//
// Metadata alone never copies content: the private entry is a *link*, an empty sparse file with the real owner, mode,
// times and xattrs that names the object. Content becomes the file's own in place: data is written into the link's
// empty inode while its xattr still says "link", so nobody sees it; then the xattr changes, in one step. So hard links,
// inode number and metadata need no care, and a copy that was cut short is only a link that takes some space.

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <memory>

#include "inode/root.h"

namespace templatefs {
namespace {

constexpr long kExt4Magic = 0xEF53;  // EXT4_SUPER_MAGIC
constexpr long kXfsMagic = 0x58465342;  // XFS_SUPER_MAGIC

Result<void> copy_data(int from, int to, uint64_t size) {
    if (::ioctl(to, FICLONE, from) == 0) return {};
    off_t at = 0;
    const auto end = static_cast<off_t>(size);
    while (at < end) {
        off_t data = ::lseek(from, at, SEEK_DATA);
        if (data < 0 && errno == ENXIO) break;  // a hole to the end
        if (data < 0) data = at;                // no SEEK_DATA here: all of it is data
        off_t hole = ::lseek(from, data, SEEK_HOLE);
        if (hole < 0) hole = end;
        loff_t in = data, out = data;
        while (in < hole) {
            ssize_t copied = ::copy_file_range(from, &in, to, &out, static_cast<size_t>(hole - in), 0);
            if (copied < 0 && errno == EINTR) continue;
            if (copied < 0 && (errno == EXDEV || errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP)) {
                // Not an array: each thread would have it, filled with zeros, from its start.
                constexpr size_t kBufferBytes = 128 * 1024;
                static thread_local const std::unique_ptr<char[]> buffer(new char[kBufferBytes]);
                ssize_t got = ::pread(from, buffer.get(), std::min<size_t>(kBufferBytes, static_cast<size_t>(hole - in)), in);
                if (got < 0) return Errno::last();
                copied = ::pwrite(to, buffer.get(), static_cast<size_t>(got), out);
                if (copied > 0) {
                    in += copied;
                    out += copied;
                }
            }
            if (copied < 0) return Errno::last();
            if (copied == 0) return Errno(EIO);  // the object is shorter than it should be
        }
        at = hole;
    }
    return {};
}

constexpr int kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

// When it returns, no metadata that is changed from here on is durable before the data is. ext4 and XFS note in their
// journals where data lies before they say that it was written, so it is enough to wait for that: the fsync that follows
// is the only wait for the journal. The data itself is on the disk with the next write of the journal, which flushes the disk's cache.
Result<void> write_back(int fd) {
    struct statfs host;
    TRY(checked_void(::fstatfs(fd, &host)));
    if (host.f_type != kExt4Magic && host.f_type != kXfsMagic) return checked_void(::fdatasync(fd));
    return checked_void(::sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER));
}

}  // namespace

Result<std::string_view> Root::tree_name(NodeIndex index, const TreeNode& node) const {
    TreeNode parent = TRY(tree_node(node.parent));
    // Children have consecutive numbers in entry order, but for second names of hard links, which have older ones: so
    // the entry stands at or after this position.
    uint32_t position = 0;
    for (uint32_t i = 0; i < parent.data_b; i++) {
        TreeEntry first = TRY(tree_.entry(parent, i));
        if (first.node > node.parent && TRY(tree_node(first.node)).parent == node.parent) {
            if (index >= first.node) position = std::min(i + (index - first.node), parent.data_b);
            if (index < first.node) position = 0;
            break;
        }
    }
    for (uint32_t i = position; i < parent.data_b; i++) {
        TreeEntry entry = TRY(tree_.entry(parent, i));
        if (entry.node == index) return entry.name;
    }
    return Errno(EUCLEAN);
}

Result<Node*> Root::node_of(File& file) {
    if (file.node != nullptr) return file.node;
    uint64_t nodeid = uint64_t{file.index} + 1;
    file.node = TRY(nodes_.create(nodeid, nodeid));
    file.node->mode = file.tree.mode & S_IFMT;
    file.node->origin = file.index;
    return file.node;
}

Result<void> Root::copy_metadata(Place staged, const TreeNode& node) {
    TRY(host_chown(staged, node.uid, node.gid));
    if (!node.is_symlink()) TRY(host_chmod(staged, node.mode));
    Result<void> set;
    TRY(tree_.for_each_xattr(node, [&](XattrView xattr) {
        std::string name(xattr.name);
        set = host_setxattr(staged, name.c_str(), std::as_bytes(std::span(xattr.value.data(), xattr.value.size())), 0);
        return set.ok();
    }));
    TRY(std::move(set));
    timespec time{node.mtime_sec, static_cast<long>(node.mtime_nsec)};
    timespec times[2] = {time, time};
    return host_utimens(staged, times);
}

Result<void> Root::copy_up_root() {
    Node* root = nodes_.find(kRootNodeid);
    Place place{area_.root(), "."};
    TRY(copy_metadata(place, TRY(tree_node(0))));
    NodeInfo info;
    info.ino = 1;
    info.origin = 0;
    TRY(write_node_info(place, info));
    nodes_.drop_flag(*root, kNodePristine);
    count_node(*root);
    return {};
}

Result<Node*> Root::private_tree_folder(NodeIndex index) {
    // From the folder up to the next one that is private, then down: each needs its parent's entry first.
    std::vector<NodeIndex> missing;
    Node* parent = nullptr;
    for (NodeIndex at = index;;) {
        Node* node = nodes_.find(uint64_t{at} + 1);
        if (node != nullptr && (node->flags & kNodePrivate) != 0) {
            if ((node->flags & kNodePristine) != 0) TRY(copy_up_root());
            parent = node;
            break;
        }
        missing.push_back(at);
        TreeNode tree = TRY(tree_node(at));
        // A hostile image may have a loop of parents; no path in it has more folders than the image has nodes.
        if (at == 0 || missing.size() > tree_.node_count()) return Errno(EUCLEAN);
        at = tree.parent;
    }
    while (!missing.empty()) {
        NodeIndex at = missing.back();
        missing.pop_back();
        TreeNode tree = TRY(tree_node(at));
        std::string name(TRY(tree_name(at, tree)));
        parent = TRY(copy_up_folder(*parent, at, tree, name));
    }
    return parent;
}

Result<Node*> Root::copy_up_folder(Node& parent, NodeIndex index, const TreeNode& tree, std::string_view name) {
    if (!tree.is_dir()) return Errno(EUCLEAN);
    TRY(usage_.check_entry(usage_.state().block_size));
    DirRef parent_dir = TRY(dir(parent));
    std::string staged_name = staging_name();
    Place staged{area_.staging(), staged_name.c_str()};
    Place target{parent_dir->fd.get(), name.data()};
    TRY(checked_void(::mkdirat(staged.folder, staged.name, 0700)));
    NodeInfo info;
    info.ino = uint64_t{index} + 1;
    info.origin = index;
    Intent intent{};
    intent.kind = IntentKind::Materialize;
    intent.flags = kIntentDirectory;
    intent.ino = info.ino;
    intent.folder = parent.nodeid;
    intent.set_name(name);
    auto made = [&]() -> Result<void> {
        TRY(write_node_info(staged, info));
        TRY(copy_metadata(staged, tree));
        return put_in_place(staged, target, intent);
    }();
    if (!made.ok()) {
        (void)host_unlink(staged, AT_REMOVEDIR).ok();
        return made.error();
    }
    return nodes_.find(info.ino);
}

// Moves a staged copy to where its tree entry shows, and notes it. Adding an entry changes the folder's mtime on the host;
// the entry was shown before, so the container must not see that.
Result<void> Root::put_in_place(Place staged, Place target, Intent intent) {
    const Place folder{target.folder, "."};
    if (intent.folder != 0) intent.stat = TRY(host_stat(folder));
    state_.arm(intent);
    auto moved = host_rename(staged, target, RENAME_NOREPLACE);
    if (moved.ok()) {
        // Whatever becomes of the folder's times: the entry is there now, and may be an empty file for a truncation.
        if (intent.folder != 0) (void)restore_times(folder, intent.stat).ok();
        moved = note_materialized(intent);
    }
    end_step(intent, false);
    return moved;
}

Result<void> Root::note_materialized(const Intent& intent) {
    Node* node = nodes_.find(intent.ino);
    if (node == nullptr) {
        node = TRY(nodes_.create(intent.ino, intent.ino));
        node->origin = static_cast<NodeIndex>(intent.ino - 1);
        node->mode = TRY(tree_node(node->origin)).mode & S_IFMT;
    }
    uint32_t flags = kNodePrivate;
    if ((intent.flags & kIntentDirectory) != 0) flags |= kNodeMerged;
    if ((intent.flags & kIntentLink) != 0) flags |= kNodeLink;
    if ((intent.flags & kIntentIndexed) != 0) flags |= kNodeIndexed;
    nodes_.add_flag(*node, flags);
    nodes_.set(node->tree_links, intent.value);
    Node* parent = nullptr;
    if (intent.folder != 0) {
        parent = nodes_.find(intent.folder);
        if (parent == nullptr) return Errno(ESTALE);
        TRY(nodes_.move(*node, parent, intent.name()));
    }
    // Made empty, for an open that truncates: opens from before may hold the tree's object.
    if (S_ISREG(node->mode) && (intent.flags & kIntentLink) == 0) TRY(note_own_content(intent));
    if (parent == nullptr) return {};
    if (DirRef handle = dirs_.find(parent->nodeid); handle && handle->scanned) {
        auto position = tree_.find(TRY(tree_node(parent->origin)), intent.name());
        if (position.ok()) handle->overridden[position.value()] = true;
    }
    return {};
}

Result<void> Root::materialize(File& file) { return materialize_as(file, false); }

Result<void> Root::materialize_as(File& file, bool empty) {
    if (file.is_private()) {
        if ((file.node->flags & kNodePristine) != 0) TRY(copy_up_root());
        return {};
    }
    if (file.tree.is_dir()) {
        if (file.node != nullptr && (file.node->flags & kNodeDeleted) != 0) return Errno(ENOENT);
        file.node = TRY(private_tree_folder(file.index));
        return {};
    }
    TRY(usage_.check_entry(0));
    const bool deleted = file.node != nullptr && (file.node->flags & kNodeDeleted) != 0;
    NodeInfo info;
    info.ino = uint64_t{file.index} + 1;
    info.origin = file.index;
    info.indexed = deleted || file.tree.nlink > 1;
    info.tree_links = info.indexed && !deleted ? file.tree.nlink : 0;
    if (file.tree.is_regular() && file.tree.data_a != kNoObject && !empty) {
        info.kind = NodeInfo::Kind::Link;
        info.object = TRY(tree_.object(file.tree));
    }

    // Where it goes; the parent first, so that a failure there leaves nothing behind.
    Node* parent = nullptr;
    DirRef parent_dir;
    std::string name;
    Place target{area_.inodes(), nullptr};
    if (info.indexed) {
        name = InodeName(info.ino).text;
    } else {
        name = TRY(tree_name(file.index, file.tree));
        parent = TRY(private_tree_folder(file.tree.parent));
        parent_dir = TRY(dir(*parent));
        target.folder = parent_dir->fd.get();
    }
    target.name = name.c_str();

    std::string staged_name = staging_name();
    Place staged{area_.staging(), staged_name.c_str()};
    auto made = [&]() -> Result<void> {
        if (file.tree.is_regular()) {
            UniqueFd fd = TRY(open_at(staged.folder, staged.name, O_WRONLY | O_CREAT | O_EXCL, 0600));
            if (info.is_link()) TRY(checked_void(::ftruncate(fd.get(), static_cast<off_t>(file.tree.size))));
        } else if (file.tree.is_symlink()) {
            std::string link(TRY(tree_.symlink_target(file.tree)));
            TRY(checked_void(::symlinkat(link.c_str(), staged.folder, staged.name)));
        } else {
            TRY(checked_void(::mknodat(staged.folder, staged.name, file.tree.mode, file.tree.rdev)));
        }
        TRY(write_node_info(staged, info));
        TRY(copy_metadata(staged, file.tree));
        if (empty) {
            // As a truncation does. File capabilities end with the content that they were given to.
            if (tree_.xattr(file.tree, kCapability).ok()) TRY(host_removexattr(staged, kCapability));
            constexpr timespec kNow[] = {{0, UTIME_OMIT}, {0, UTIME_NOW}};
            TRY(host_utimens(staged, kNow));
        }
        Intent intent{};
        intent.kind = IntentKind::Materialize;
        intent.flags = (info.is_link() ? uint32_t{kIntentLink} : 0U) | (info.indexed ? uint32_t{kIntentIndexed} : 0U);
        intent.ino = info.ino;
        intent.value = info.tree_links;
        intent.folder = parent != nullptr ? parent->nodeid : 0;
        intent.set_name(name);
        return put_in_place(staged, target, intent);
    }();
    if (!made.ok()) {
        (void)host_unlink(staged).ok();
        return made;
    }
    file.node = nodes_.find_ino(info.ino);
    return {};
}

bool Root::is_partial(const File& file) const {
    return file.is_private() && (file.node->flags & kNodePartial) != 0;
}

bool Root::has_own_content(const File& file) const {
    return file.is_private() && (file.node->flags & kNodeLink) == 0;
}

Result<void> Root::own_content(File& file, bool truncate) {
    if (!S_ISREG(file.type())) return Errno(EINVAL);
    if (has_own_content(file)) return {};
    const uint64_t ino = file.ino();
    const Node* before = file.node;
    note_change();
    open_files_.erase(file.nodeid());
    if (!file.is_private()) TRY(materialize_as(file, truncate));
    if ((file.node->flags & kNodeLink) != 0) {
        PinnedPlace at = TRY(place(*file.node));
        NodeInfo info = TRY(node_info(at));
        Intent intent{};
        intent.kind = IntentKind::OwnContent;
        intent.ino = ino;
        auto filled = info.is_link() ? fill_content(at, info, intent, truncate) : Result<void>();
        if (info.is_partial()) intent.flags |= kIntentPartial;
        if (!info.is_link()) {
            auto noted = note_own_content(intent);
            if (filled.ok()) filled = std::move(noted);
        }
        end_step(intent, false);
        TRY(std::move(filled));
        file.node = nodes_.find_ino(ino);
    }
    if (before == nullptr || before == file.node) return {};
    return Errno(ESTALE);
}

Result<void> Root::note_own_content(const Intent& intent) {
    Node* found = nodes_.find_ino(intent.ino);
    if (found == nullptr) return {};
    Node& node = *found;
    nodes_.drop_flag(node, kNodeLink | kNodeWhole | kNodeAdopted);
    note_new_xattr(node);
    if ((intent.flags & kIntentPartial) != 0) nodes_.add_flag(node, kNodePartial);
    if (usage_.counts()) nodes_.add_flag(node, kNodeUnsettled);
    if (node.opens == 0 || (node.flags & kNodeCached) != 0) {
        close_backing(node);
        return {};
    }
    if ((node.flags & kNodeOwnBacking) != 0) {
        // It was merged while it was open, so those opens read this same inode.
        nodes_.drop_flag(node, kNodeOwnBacking);
        return {};
    }
    // Opens that bypass us read the object, and the kernel allows one backing file a nodeid. The file goes on under a new
    // nodeid with the same inode number; the old one stays for those opens.
    Node* fresh = TRY(nodes_.create(0, node.ino));
    fresh->mode = node.mode;
    fresh->origin = node.origin;
    fresh->tree_links = node.tree_links;
    nodes_.add_flag(*fresh, node.flags | kNodeTwin);
    usage_.hand_over(node, *fresh);
    if (node.parent != 0) {
        std::string name(nodes_.name(node));
        TRY(nodes_.move(*fresh, nodes_.at(node.parent), name));
        TRY(nodes_.move(node, nullptr, ""));
    }
    nodes_.supersede(node, *fresh);
    // Other names and open descriptors still lead to the kernel's inode of the old nodeid.
    forget_attributes(node.nodeid);
    return {};
}

Result<NodeInfo> Root::node_info(Place place) {
    auto info = TRY(read_node_info(place));
    if (!info) return Errno(EUCLEAN);
    return *info;
}

// What copying content into a link's inode changed besides the content.
Result<void> Root::restore_link(Place place, const Intent& intent) {
    if (intent.other_size > 0) {
        TRY(host_setxattr(place, kCapability, std::as_bytes(std::span(intent.other_bytes).first(intent.other_size)), 0));
    }
    return restore_times(place, intent.stat);
}

// `info` is what the xattr says when it returns, after a failure too.
Result<void> Root::fill_content(Place place, NodeInfo& info, Intent& intent, bool truncate) {
    intent.stat = TRY(host_stat(place));
    if (truncate) intent.flags = kIntentReplaces;
    // Any write takes file capabilities away, also ours.
    auto capability = host_getxattr(place, kCapability, std::as_writable_bytes(std::span(intent.other_bytes)));
    if (capability.ok()) intent.other_size = static_cast<uint16_t>(capability.value());
    else if (capability.error_code() != ENODATA && capability.error_code() != EOPNOTSUPP) return capability.error();
    state_.arm(intent);
    UniqueFd to = TRY(open_at(place.folder, place.name, O_RDWR));
    // After a failure the space is given back, and the file is still a link.
    const auto remain_link = [&](Errno error) {
        (void)!::ftruncate(to.get(), 0);
        (void)!::ftruncate(to.get(), static_cast<off_t>(info.object.size));
        (void)restore_link(place, intent).ok();
        return error;
    };
    NodeInfo filled = info;
    filled.kind = NodeInfo::Kind::Own;
    filled.whole = false;
    filled.ctime.reset();
    if (info.whole && !truncate) {
        // It was merged while somebody had it open or mapped: the content is here.
        TRY(write_back(to.get()));
        TRY(write_node_info(place, filled));
        auto durable = checked_void(::fsync(to.get()));
        if (!durable.ok() && write_node_info(place, info).ok()) return durable;
        info = filled;
        return durable;
    }
    if (info.whole) {
        info.whole = false;
        TRY(write_node_info(place, info));
    }
    if (truncate) {
        auto emptied = checked_void(::ftruncate(to.get(), 0));
        if (emptied.ok()) emptied = write_node_info(place, filled);
        if (!emptied.ok()) return remain_link(emptied.error());
        info = filled;
        return {};
    }
    UniqueFd from = TRY(open_object(info.object, O_RDONLY));
    const bool partly = info.object.size > whole_copy_limit_ && is_one_hole(to.get());
    auto fits = check_copy(from.get());
    if (partly && (!fits.ok() || ::ioctl(to.get(), FICLONE, from.get()) < 0)) {
        // Nothing to copy now: each block is, when it is first written to.
        // Space that a copy which was cut short by a power loss left would be taken for zeros of the container's own.
        const bool has_space = intent.stat.stx_blocks > 0;
        if (has_space) TRY(checked_void(::fallocate(to.get(), kPunch, 0, static_cast<off_t>(info.object.size))));
        // But overlayfs takes file capabilities away before it refuses to clone.
        if (fits.ok() || has_space) TRY(restore_link(place, intent));
        filled.kind = NodeInfo::Kind::Partial;
        TRY(write_node_info(place, filled));
        info = filled;
        return {};
    }
    auto copied = partly || !fits.ok() ? std::move(fits) : copy_data(from.get(), to.get(), info.object.size);
    if (copied.ok()) copied = write_back(to.get());
    if (copied.ok()) copied = restore_link(place, intent);
    if (copied.ok()) copied = write_node_info(place, filled);
    if (!copied.ok()) return remain_link(copied.error());
    // What the container writes from here on may pass us by, and be made durable without the xattr (O_DSYNC).
    auto durable = checked_void(::fsync(to.get()));
    if (!durable.ok() && write_node_info(place, info).ok()) return remain_link(durable.error());
    info = filled;
    return durable;
}

}  // namespace templatefs
