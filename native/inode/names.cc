// Names: making, removing and linking entries of merged folders. docs/formats/private-area.md has the order of steps that
// keeps each of them whole when the engine or the machine stops in between. Renaming has a file of its own.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "inode/folder_place.h"
#include "inode/root.h"

namespace templatefs {
namespace {

constexpr char kDefaultAcl[] = "system.posix_acl_default";

Result<void> make_inode(Place place, const Root::NewEntry& entry, uint32_t mode) {
    switch (mode & S_IFMT) {
        case S_IFREG: {
            UniqueFd fd = TRY(open_at(place.folder, place.name, O_WRONLY | O_CREAT | O_EXCL, mode & 07777));
            return {};
        }
        case S_IFDIR:
            return checked_void(::mkdirat(place.folder, place.name, mode & 07777));
        case S_IFLNK:
            return checked_void(::symlinkat(entry.target.data(), place.folder, place.name));
        case S_IFCHR:
        case S_IFBLK:
        case S_IFIFO:
        case S_IFSOCK:
            return checked_void(::mknodat(place.folder, place.name, mode, entry.rdev));
        default:
            return Errno(EINVAL);
    }
}

// Removes what lies in staging/ and nobody needs any more. What cannot be removed goes with the next worker's start: the step
// itself is done, and must not be called failed for that.
void discard(Place staged) { (void)remove_tree(staged).ok(); }

// What the inode itself may need at once: folders a block, and long targets of symlinks.
uint64_t own_bytes(const Root::NewEntry& entry, uint64_t block_size) {
    constexpr size_t kInlineTarget = 59;  // ext4
    const bool has_block = S_ISDIR(entry.mode) || (S_ISLNK(entry.mode) && entry.target.size() > kInlineTarget);
    return has_block ? block_size : 0;
}

}  // namespace

// Owner, mode and node xattr of an inode that was just made in a folder whose owner and mode are `parent`.
Result<void> Root::dress(Place place, uint32_t mode, uint32_t uid, uint32_t gid, const HostStat& parent,
                         const NodeInfo& info) {
    TRY(write_node_info(place, info));
    bool inherits = (parent.stx_mode & S_ISGID) != 0;
    if (inherits) gid = parent.stx_gid;
    HostStat made = TRY(host_stat(place));
    if (made.stx_uid != uid || made.stx_gid != gid) {
        TRY(host_chown(place, uid, gid));
        made.stx_mode &= static_cast<uint16_t>(~(S_ISUID | S_ISGID));
    }
    if (S_ISLNK(mode)) return {};
    uint32_t special = mode & (S_ISUID | S_ISGID | S_ISVTX);
    if (S_ISDIR(mode) && inherits) special |= S_ISGID;
    if ((made.stx_mode & (S_ISUID | S_ISGID | S_ISVTX)) != special)
        TRY(host_chmod(place, (made.stx_mode & 0777U) | special));
    return {};
}

// Makes an inode in staging/ with all that it inherits from `folder`, and lets `publish(Place)` move it from there.
template <class Publish>
Result<void> Root::make_aside(Folder& folder, const NewEntry& entry, uint32_t mode, const NodeInfo& info, Publish&& publish) {
    HostStat parent = TRY(host_stat(in_folder(folder, ".")));
    const bool acl = TRY(has_default_acl(folder));
    std::string staged_name = staging_name();
    UniqueFd acl_folder;
    Place staged{area_.staging(), staged_name.c_str()};
    auto made = [&]() -> Result<void> {
        if (acl) {
            // The host applies the default ACL of the folder that an inode is made in.
            TRY(checked_void(::mkdirat(staged.folder, staged.name, 0700)));
            acl_folder = TRY(open_at(staged.folder, staged.name, O_RDONLY | O_DIRECTORY));
            std::byte value[4096];
            size_t size = TRY(host_getxattr(in_folder(folder, "."), kDefaultAcl, value));
            TRY(host_setxattr({acl_folder.get(), "."}, kDefaultAcl, std::span(value).first(size), 0));
            staged = {acl_folder.get(), "n"};
        }
        TRY(make_inode(staged, entry, mode));
        TRY(dress(staged, mode, entry.uid, entry.gid, parent, info));
        return publish(staged);
    }();
    if (!made.ok()) (void)remove_tree(staged).ok();
    if (acl) (void)host_unlink({area_.staging(), staged_name.c_str()}, AT_REMOVEDIR).ok();
    return made;
}

Result<File> Root::make(Folder& folder, std::string_view name, const NewEntry& entry) {
    auto present = child(folder, name);
    if (present.ok()) return Errno(EEXIST);
    if (present.error_code() != ENOENT) return present.error();
    TRY(usage_.check_entry(own_bytes(entry, usage_.state().block_size)));
    TRY(check_node_room());

    HostStat parent = TRY(host_stat(in_folder(folder, ".")));
    const bool acl = TRY(has_default_acl(folder));
    uint32_t mode = acl || S_ISLNK(entry.mode) ? entry.mode : entry.mode & ~entry.umask;
    NodeInfo info;
    info.ino = TRY(new_ino());
    Place target = in_folder(folder, name);
    std::optional<uint32_t> position;
    if (folder.origin) {
        auto found = tree_.find(folder.tree, name);
        if (found.ok()) position = found.value();
    }

    Intent intent{};
    intent.kind = IntentKind::Make;
    intent.folder = folder.node->nodeid;
    intent.ino = info.ino;
    intent.mode = mode;
    intent.uid = entry.uid;
    intent.gid = entry.gid;
    intent.set_name(name);
    state_.arm(intent);
    auto made = position ? Result<void>(Errno(EEXIST)) : make_inode(target, entry, mode);
    if (made.ok()) {
        made = dress(target, mode, entry.uid, entry.gid, parent, info);
        if (!made.ok()) (void)host_unlink(target, S_ISDIR(mode) ? AT_REMOVEDIR : 0).ok();
    } else if (made.error_code() == EEXIST) {
        // A whiteout is in the way: it must not be gone before the new entry is there.
        made = make_aside(folder, entry, mode, info, [&](Place staged) -> Result<void> {
            if (!TRY(has_whiteout(target))) return host_rename(staged, target, RENAME_NOREPLACE);
            if (!S_ISDIR(mode)) return host_rename(staged, target, 0);
            TRY(host_rename(staged, target, RENAME_EXCHANGE));
            discard(staged);
            return {};
        });
    }
    File file;
    if (made.ok()) {
        note_overridden(folder, position, S_ISDIR(mode) ? 1 : 0);
        made = note_made(intent);
        file.node = nodes_.find_ino(info.ino);
    }
    end_step(intent, made.ok());
    TRY(std::move(made));
    return file;
}

// In the worker that made it, or in its successor.
Result<void> Root::note_made(const Intent& intent) {
    if (nodes_.find_ino(intent.ino) != nullptr) return {};
    Node* folder = nodes_.find(intent.folder);
    if (folder == nullptr) return Errno(ESTALE);
    Node* node = TRY(nodes_.create(0, intent.ino));
    node->mode = intent.mode & S_IFMT;
    nodes_.add_flag(*node, kNodePrivate | kNodeNewXattr);
    return nodes_.move(*node, folder, intent.name());
}

Result<File> Root::make_unnamed(Folder& folder, const NewEntry& entry) {
    TRY(usage_.check_entry(0));
    TRY(check_node_room());
    const bool acl = TRY(has_default_acl(folder));
    const uint32_t mode = acl ? entry.mode : entry.mode & ~entry.umask;
    NodeInfo info;
    info.ino = TRY(new_ino());
    info.indexed = true;
    InodeName name(info.ino);
    // Nobody could find it again, so a successor removes it and makes another one.
    Intent intent{};
    intent.kind = IntentKind::Make;
    intent.ino = info.ino;
    state_.arm(intent);
    File file;
    auto made = make_aside(folder, entry, mode, info, [&](Place staged) {
        return host_rename(staged, {area_.inodes(), name.text}, RENAME_NOREPLACE);
    });
    if (made.ok()) {
        auto created = nodes_.create(0, info.ino);
        if (created.ok()) {
            file.node = created.value();
            file.node->mode = mode & S_IFMT;
            nodes_.add_flag(*file.node, kNodePrivate | kNodeIndexed | kNodeDeleted | kNodeNewXattr);
        } else {
            made = created.error();
        }
    }
    end_step(intent, false);
    TRY(std::move(made));
    return file;
}

// Takes the host entry away, leaving a whiteout where the tree's entry must stay hidden.
Result<void> Root::remove_entry(Folder& folder, std::string_view name, const Child& child) {
    Place target = in_folder(folder, name);
    std::string staged_name = staging_name();
    Place staged{area_.staging(), staged_name.c_str()};
    if (!S_ISDIR(child.file.type())) {
        if (!child.position) return host_unlink(target);
        TRY(host_rename_leaving_whiteout(target, staged));
        discard(staged);
        return {};
    }
    if (child.position) {
        TRY(make_whiteout(staged));
        auto exchanged = host_rename(staged, target, RENAME_EXCHANGE);
        discard(staged);
        return exchanged;
    }
    auto gone = host_unlink(target, AT_REMOVEDIR);
    if (gone.ok() || gone.error_code() != ENOTEMPTY) return gone;
    // It looks empty but holds whiteouts.
    TRY(host_rename(target, staged, 0));
    discard(staged);
    return {};
}

Result<void> Root::index_node(Node& node) {
    if ((node.flags & kNodeIndexed) != 0) return {};
    PinnedPlace at = TRY(place(node));
    InodeName name(node.ino);
    Place target{area_.inodes(), name.text};
    Intent intent{};
    intent.kind = IntentKind::Index;
    intent.ino = node.ino;
    state_.arm(intent);
    auto linked = host_link(at, target);
    if (linked.ok() || linked.error_code() == EEXIST) {
        linked = note_indexed(intent);
        // Else it would count as one of the container's names.
        if (!linked.ok()) (void)host_unlink(target).ok();
    }
    end_step(intent, false);
    return linked;
}

Result<void> Root::note_indexed(const Intent& intent) {
    InodeName name(intent.ino);
    Place target{area_.inodes(), name.text};
    NodeInfo info = TRY(node_info(target));
    if (!info.indexed) {
        info.indexed = true;
        TRY(write_node_info(target, info));
    }
    Node* node = nodes_.find_ino(intent.ino);
    if (node == nullptr) return {};
    nodes_.add_flag(*node, kNodeIndexed);
    return nodes_.move(*node, nullptr, "");
}

// An entry that is only in the tree becomes a private one: what follows need not care where it came from.
Result<void> Root::materialize_entry(Folder& folder, std::string_view name, Child& child) {
    if (child.entry) return {};
    TRY(materialize(child.file));
    Node& node = *child.file.node;
    Place target = in_folder(folder, name);
    if ((node.flags & kNodeIndexed) != 0) {
        // One of the tree's names turns into a host link.
        Intent intent{};
        intent.kind = IntentKind::TreeName;
        intent.folder = folder.node->nodeid;
        intent.ino = node.ino;
        intent.value = node.tree_links > 0 ? node.tree_links - 1 : 0;
        intent.set_name(name);
        state_.arm(intent);
        InodeName inode(node.ino);
        auto linked = host_link({area_.inodes(), inode.text}, target);
        if (linked.ok()) {
            linked = note_tree_name(intent);
            // Else the file would have this name twice.
            if (!linked.ok()) (void)host_unlink(target).ok();
        }
        end_step(intent, false);
        TRY(std::move(linked));
    }
    note_overridden(folder, child.position, 0);
    child.entry = true;
    child.stat = TRY(host_stat(target));
    return {};
}

Result<void> Root::note_tree_name(const Intent& intent) {
    InodeName name(intent.ino);
    Place at{area_.inodes(), name.text};
    NodeInfo info = TRY(node_info(at));
    info.tree_links = intent.value;
    TRY(write_node_info(at, info));
    if (Node* node = nodes_.find_ino(intent.ino)) nodes_.set(node->tree_links, info.tree_links);
    return {};
}

// Before the entry of `child` is replaced or removed: sees to it that an open file outlives its last name.
Result<void> Root::keep_open_file(Folder& folder, std::string_view name, Child& child) {
    if (S_ISDIR(child.file.type())) return {};
    if (!child.entry) {
        if (child.file.is_private() || child.file.tree.nlink > 1) TRY(materialize_entry(folder, name, child));
        return {};
    }
    Node& node = *child.file.node;
    if (node.is_open()) TRY(index_node(node));
    child.stat = TRY(host_stat(in_folder(folder, name)));
    return {};
}

Result<void> Root::name_removed(uint64_t ino, bool entry, const HostStat& stat) {
    if (!entry) {
        // A tree file with one name: it shows its tree attributes with no links for those that still have it.
        File file = TRY(this->file(ino));
        Node* node = TRY(node_of(file));
        if (S_ISDIR(node->mode)) {
            // Nothing can be in it any more, so its attributes are all that it can still have.
            HostStat last{};
            last.stx_mode = static_cast<uint16_t>(file.tree.mode);
            last.stx_uid = file.tree.uid;
            last.stx_gid = file.tree.gid;
            last.stx_size = 4096;
            last.stx_mtime.tv_sec = file.tree.mtime_sec;
            last.stx_mtime.tv_nsec = file.tree.mtime_nsec;
            last.stx_atime = last.stx_ctime = last.stx_mtime;
            TRY(bury(*node, last));
            nodes_.add_flag(*node, kNodePrivate);
        }
        nodes_.add_flag(*node, kNodeDeleted);
        dirs_.erase(node->nodeid);
        return {};
    }
    Node* found = nodes_.find_ino(ino);
    if (found == nullptr || (found->flags & kNodeDeleted) != 0) return {};
    Node& node = *found;
    if (S_ISDIR(node.mode)) {
        nodes_.add_flag(node, kNodeDeleted);
        nodes_.drop_flag(node, kNodeMerged);
        usage_.drop(node);
        dirs_.erase(node.nodeid);
        TRY(bury(node, stat));
        return nodes_.move(node, nullptr, "");
    }
    if (TRY(names_left(node, stat)) > 1) {
        note_ctime(node);
        return {};
    }
    if ((node.flags & kNodeIndexed) != 0 && node.is_open()) {
        nodes_.add_flag(node, kNodeDeleted);
        return {};
    }
    TRY(bury(node, stat));
    usage_.drop(node);
    if ((node.flags & kNodeIndexed) != 0) {
        InodeName inode(node.ino);
        (void)host_unlink({area_.inodes(), inode.text}).ok();
        nodes_.drop_flag(node, kNodeIndexed);
    } else {
        TRY(nodes_.move(node, nullptr, ""));
    }
    nodes_.add_flag(node, kNodeDeleted);
    open_files_.erase(node.nodeid);
    close_backing(node);
    return {};
}

Result<void> Root::note_removed(const Intent& intent) {
    return name_removed(intent.ino, (intent.flags & kIntentEntry) != 0, intent.stat);
}

Result<void> Root::remove_name(Folder& folder, std::string_view name, Child& child) {
    Intent intent{};
    intent.kind = IntentKind::Remove;
    intent.flags = (child.entry ? uint32_t{kIntentEntry} : 0U) | (child.position ? uint32_t{kIntentHidesTree} : 0U);
    intent.folder = folder.node->nodeid;
    intent.ino = child.file.ino();
    intent.stat = child.stat;
    intent.set_name(name);
    state_.arm(intent);
    auto removed = child.entry ? remove_entry(folder, name, child) : make_whiteout(in_folder(folder, name));
    if (removed.ok()) removed = note_removed(intent);
    end_step(intent, removed.ok());
    TRY(std::move(removed));
    note_overridden(folder, child.position, S_ISDIR(child.file.type()) ? -1 : 0);
    return {};
}

bool Root::can_make_zero_devices() {
    if (!zero_devices_) {
        std::string name = staging_name();
        const bool made = ::mknodat(area_.staging(), name.c_str(), S_IFCHR | 0600, 0) == 0;
        // A full or failing disk says nothing about that: whoever makes one hears of it.
        if (!made && errno != EPERM) return true;
        zero_devices_ = made;
        if (*zero_devices_) (void)host_unlink({area_.staging(), name.c_str()}).ok();
    }
    return *zero_devices_;
}

Result<void> Root::unlink(Folder& folder, std::string_view name) {
    Child found = TRY(child(folder, name));
    if (S_ISDIR(found.file.type())) return Errno(EISDIR);
    TRY(keep_open_file(folder, name, found));
    return remove_name(folder, name, found);
}

// A logically empty private folder may hold whiteouts. An empty one without origin takes its place, so that the host lets
// it be removed or replaced.
Result<void> Root::replace_by_opaque(Folder& folder, std::string_view name, Child& child) {
    Place target = in_folder(folder, name);
    NodeInfo info = TRY(node_info(target));
    std::string staged_name = staging_name();
    Place staged{area_.staging(), staged_name.c_str()};
    info.origin = kNoOrigin;
    auto made = [&]() -> Result<void> {
        TRY(checked_void(::mkdirat(staged.folder, staged.name, 0700)));
        TRY(write_node_info(staged, info));
        TRY(host_chown(staged, child.stat.stx_uid, child.stat.stx_gid));
        TRY(host_chmod(staged, child.stat.stx_mode & 07777U));
        TRY(restore_times(staged, child.stat));
        return host_rename(staged, target, RENAME_EXCHANGE);
    }();
    // The folder that it was before, or what could not take its place.
    discard(staged);
    TRY(std::move(made));
    dirs_.erase(child.file.node->nodeid);
    nodes_.drop_flag(*child.file.node, kNodeMerged);
    count_node(*child.file.node);
    return {};
}

Result<void> Root::rmdir(Folder& folder, std::string_view name) {
    Child found = TRY(child(folder, name));
    if (!S_ISDIR(found.file.type())) return Errno(ENOTDIR);
    Folder removed = TRY(folder_of(found.file));
    TRY(check_empty(removed));
    return remove_name(folder, name, found);
}

Result<void> Root::link(File& file, Folder& folder, std::string_view name) {
    if (S_ISDIR(file.type())) return Errno(EPERM);
    auto present = child(folder, name);
    if (present.ok()) return Errno(EEXIST);
    if (present.error_code() != ENOENT) return present.error();
    TRY(usage_.check_bytes(usage_.state().block_size));
    TRY(materialize(file));
    Node& node = *file.node;
    TRY(index_node(node));
    InodeName inode(node.ino);
    Place at{area_.inodes(), inode.text};
    Place target = in_folder(folder, name);
    const bool over_whiteout = TRY(has_whiteout(target));
    Intent intent{};
    intent.kind = IntentKind::Link;
    intent.folder = folder.node->nodeid;
    intent.ino = node.ino;
    intent.set_name(name);
    state_.arm(intent);
    auto linked = [&]() -> Result<void> {
        if (!over_whiteout) return host_link(at, target);
        std::string staged_name = staging_name();
        Place staged{area_.staging(), staged_name.c_str()};
        TRY(host_link(at, staged));
        auto moved = host_rename(staged, target, 0);
        // Else it would count as one of the file's names.
        if (!moved.ok()) discard(staged);
        return moved;
    }();
    if (linked.ok()) {
        nodes_.drop_flag(node, kNodeDeleted);
        note_ctime(node);
    }
    end_step(intent, linked.ok());
    return linked;
}

}  // namespace templatefs
