// Names: making, removing, linking and renaming entries of merged folders. docs/formats/private-area.md has the order of
// steps that keeps each of them whole when the engine or the machine stops in between.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "inode/root.h"

namespace templatefs {
namespace {

constexpr char kDefaultAcl[] = "system.posix_acl_default";

Place in_folder(const Folder& folder, std::string_view name) { return {folder.dir->fd.get(), name.data()}; }

Result<bool> has_whiteout(Place place) {
    auto stat = host_stat(place);
    if (!stat.ok()) {
        if (stat.error_code() == ENOENT) return false;
        return stat.error();
    }
    if (!is_whiteout_device(stat.value())) return Errno(EEXIST);
    if (TRY(read_node_info(place))) return Errno(EEXIST);
    return true;
}

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

}  // namespace

// Owner, mode and node xattr of an inode that was just made in a folder whose owner and mode are `parent`.
Result<void> Root::dress(Place place, const NewEntry& entry, uint32_t mode, const HostStat& parent, const NodeInfo& info) {
    TRY(write_node_info(place, info));
    bool inherits = (parent.stx_mode & S_ISGID) != 0;
    uint32_t gid = inherits ? parent.stx_gid : entry.gid;
    HostStat made = TRY(host_stat(place));
    if (made.stx_uid != entry.uid || made.stx_gid != gid) {
        TRY(host_chown(place, entry.uid, gid));
        made.stx_mode &= static_cast<uint16_t>(~(S_ISUID | S_ISGID));
    }
    if (S_ISLNK(mode)) return {};
    uint32_t special = mode & (S_ISUID | S_ISGID | S_ISVTX);
    if (S_ISDIR(mode) && inherits) special |= S_ISGID;
    if ((made.stx_mode & (S_ISUID | S_ISGID | S_ISVTX)) != special)
        TRY(host_chmod(place, (made.stx_mode & 0777U) | special));
    return {};
}

Result<File> Root::make(Folder& folder, std::string_view name, const NewEntry& entry) {
    auto present = child(folder, name);
    if (present.ok()) return Errno(EEXIST);
    if (present.error_code() != ENOENT) return present.error();

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

    auto direct = position ? Result<void>(Errno(EEXIST)) : make_inode(target, entry, mode);
    if (direct.ok()) {
        auto dressed = dress(target, entry, mode, parent, info);
        if (!dressed.ok()) {
            (void)host_unlink(target, S_ISDIR(mode) ? AT_REMOVEDIR : 0).ok();
            return dressed.error();
        }
    } else if (direct.error_code() != EEXIST) {
        return direct.error();
    } else {
        // A whiteout is in the way: it must not be gone before the new entry is there.
        const bool over_whiteout = TRY(has_whiteout(target));
        std::string staged_name = staging_name();
        UniqueFd acl_folder;
        Place staged{area_.staging(), staged_name.c_str()};
        if (acl) {
            // The host applies the default ACL of the folder that an inode is made in.
            TRY(checked_void(::mkdirat(staged.folder, staged.name, 0700)));
            acl_folder = TRY(open_at(staged.folder, staged.name, O_RDONLY | O_DIRECTORY));
            std::byte value[4096];
            size_t size = TRY(host_getxattr(in_folder(folder, "."), kDefaultAcl, value));
            TRY(host_setxattr({acl_folder.get(), "."}, kDefaultAcl, std::span(value).first(size), 0));
            staged = {acl_folder.get(), "n"};
        }
        auto made = [&]() -> Result<void> {
            TRY(make_inode(staged, entry, mode));
            TRY(dress(staged, entry, mode, parent, info));
            if (!over_whiteout) return host_rename(staged, target, RENAME_NOREPLACE);
            if (!S_ISDIR(mode)) return host_rename(staged, target, 0);
            TRY(host_rename(staged, target, RENAME_EXCHANGE));
            return host_unlink(staged);
        }();
        if (!made.ok()) (void)remove_tree(staged).ok();
        if (acl) (void)host_unlink({area_.staging(), staged_name.c_str()}, AT_REMOVEDIR).ok();
        TRY(std::move(made));
    }
    note_overridden(folder, position, S_ISDIR(mode) ? 1 : 0);

    File file;
    file.node = TRY(nodes_.create(0, info.ino));
    file.node->mode = mode & S_IFMT;
    nodes_.add_flag(*file.node, kNodePrivate);
    TRY(nodes_.move(*file.node, folder.node, name));
    return file;
}

Result<File> Root::make_unnamed(Folder& folder, const NewEntry& entry) {
    HostStat parent = TRY(host_stat(in_folder(folder, ".")));
    const bool acl = TRY(has_default_acl(folder));
    NodeInfo info;
    info.ino = TRY(new_ino());
    info.indexed = true;
    InodeName name(info.ino);
    Place target{area_.inodes(), name.text};
    uint32_t mode = acl ? entry.mode : entry.mode & ~entry.umask;
    TRY(make_inode(target, entry, mode));
    if (auto dressed = dress(target, entry, mode, parent, info); !dressed.ok()) {
        (void)host_unlink(target).ok();
        return dressed.error();
    }
    File file;
    file.node = TRY(nodes_.create(0, info.ino));
    file.node->mode = mode & S_IFMT;
    nodes_.add_flag(*file.node, kNodePrivate | kNodeIndexed | kNodeDeleted);
    return file;
}

// Takes the host entry away, leaving a whiteout where the tree's entry must stay hidden.
Result<void> Root::remove_entry(Folder& folder, std::string_view name, bool whiteout) {
    Place target = in_folder(folder, name);
    if (!whiteout) return host_unlink(target);
    std::string staged_name = staging_name();
    Place staged{area_.staging(), staged_name.c_str()};
    TRY(host_rename(target, staged, RENAME_WHITEOUT));
    return host_unlink(staged);
}

Result<void> Root::index_node(Node& node) {
    if ((node.flags & kNodeIndexed) != 0) return {};
    PinnedPlace at = TRY(place(node));
    NodeInfo info = TRY(node_info(at));
    InodeName name(node.ino);
    Place target{area_.inodes(), name.text};
    auto linked = host_link(at, target);
    if (!linked.ok() && linked.error_code() != EEXIST) return linked;
    info.indexed = true;
    TRY(write_node_info(target, info));
    nodes_.add_flag(node, kNodeIndexed);
    return nodes_.move(node, nullptr, "");
}

// An entry that is only in the tree becomes a private one: what follows need not care where it came from.
Result<void> Root::materialize_entry(Folder& folder, std::string_view name, Child& child) {
    if (child.entry) return {};
    TRY(materialize(child.file));
    Node& node = *child.file.node;
    Place target = in_folder(folder, name);
    if ((node.flags & kNodeIndexed) != 0) {
        // One of the tree's names turns into a host link.
        InodeName inode(node.ino);
        Place at{area_.inodes(), inode.text};
        TRY(host_link(at, target));
        NodeInfo info = TRY(node_info(at));
        if (info.tree_links > 0) info.tree_links--;
        TRY(write_node_info(at, info));
        nodes_.set(node.tree_links, info.tree_links);
    }
    note_overridden(folder, child.position, 0);
    child.entry = true;
    child.stat = TRY(host_stat(target));
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
    if (node.opens > 0) TRY(index_node(node));
    child.stat = TRY(host_stat(in_folder(folder, name)));
    return {};
}

// After one name of `child` is gone.
Result<void> Root::name_removed(Child& child) {
    if (!child.entry) {
        // A tree file with one name: it shows its tree attributes with no links for those that still have it.
        Node* node = TRY(node_of(child.file));
        nodes_.add_flag(*node, kNodeDeleted);
        dirs_.erase(node->nodeid);
        return {};
    }
    Node& node = *child.file.node;
    if (S_ISDIR(node.mode)) {
        nodes_.add_flag(node, kNodeDeleted);
        nodes_.drop_flag(node, kNodeMerged);
        dirs_.erase(node.nodeid);
        TRY(bury(node, child.stat));
        return nodes_.move(node, nullptr, "");
    }
    const uint32_t left = TRY(names_left(node, child.stat));
    if (left > 1) return {};
    nodes_.add_flag(node, kNodeDeleted);
    if ((node.flags & kNodeIndexed) == 0) {
        close_backing(node);
        open_files_.erase(node.nodeid);
        TRY(bury(node, child.stat));
        return nodes_.move(node, nullptr, "");
    }
    if (node.opens > 0) return {};
    close_backing(node);
    open_files_.erase(node.nodeid);
    TRY(bury(node, child.stat));
    InodeName inode(node.ino);
    (void)host_unlink({area_.inodes(), inode.text}).ok();
    nodes_.drop_flag(node, kNodeIndexed);
    return {};
}

Result<void> Root::unlink(Folder& folder, std::string_view name) {
    Child found = TRY(child(folder, name));
    if (S_ISDIR(found.file.type())) return Errno(EISDIR);
    TRY(keep_open_file(folder, name, found));
    if (found.entry) TRY(remove_entry(folder, name, found.position.has_value()));
    else TRY(make_whiteout(in_folder(folder, name)));
    note_overridden(folder, found.position, 0);
    return name_removed(found);
}

// A logically empty private folder may hold whiteouts. An empty one without origin takes its place, so that the host lets
// it be removed or replaced.
Result<void> Root::replace_by_opaque(Folder& folder, std::string_view name, Child& child) {
    Place target = in_folder(folder, name);
    NodeInfo info = TRY(node_info(target));
    std::string staged_name = staging_name();
    Place staged{area_.staging(), staged_name.c_str()};
    TRY(checked_void(::mkdirat(staged.folder, staged.name, 0700)));
    info.origin = kNoOrigin;
    TRY(write_node_info(staged, info));
    TRY(host_chown(staged, child.stat.stx_uid, child.stat.stx_gid));
    TRY(host_chmod(staged, child.stat.stx_mode & 07777U));
    TRY(host_rename(staged, target, RENAME_EXCHANGE));
    dirs_.erase(child.file.node->nodeid);
    nodes_.drop_flag(*child.file.node, kNodeMerged);
    return remove_tree(staged);
}

Result<void> Root::rmdir(Folder& folder, std::string_view name) {
    Child found = TRY(child(folder, name));
    if (!S_ISDIR(found.file.type())) return Errno(ENOTDIR);
    Folder removed = TRY(folder_of(found.file));
    TRY(check_empty(removed));
    Place target = in_folder(folder, name);
    if (!found.entry) {
        TRY(make_whiteout(target));
    } else {
        std::string staged_name = staging_name();
        Place staged{area_.staging(), staged_name.c_str()};
        if (found.position) {
            TRY(make_whiteout(staged));
            TRY(host_rename(staged, target, RENAME_EXCHANGE));
            TRY(remove_tree(staged));
        } else if (auto gone = host_unlink(target, AT_REMOVEDIR); !gone.ok()) {
            if (gone.error_code() != ENOTEMPTY) return gone;
            TRY(host_rename(target, staged, 0));
            TRY(remove_tree(staged));
        }
    }
    note_overridden(folder, found.position, -1);
    return name_removed(found);
}

Result<void> Root::link(File& file, Folder& folder, std::string_view name) {
    if (S_ISDIR(file.type())) return Errno(EPERM);
    auto present = child(folder, name);
    if (present.ok()) return Errno(EEXIST);
    if (present.error_code() != ENOENT) return present.error();
    TRY(materialize(file));
    Node& node = *file.node;
    TRY(index_node(node));
    InodeName inode(node.ino);
    Place at{area_.inodes(), inode.text};
    Place target = in_folder(folder, name);
    if (TRY(has_whiteout(target))) {
        std::string staged_name = staging_name();
        Place staged{area_.staging(), staged_name.c_str()};
        TRY(host_link(at, staged));
        TRY(host_rename(staged, target, 0));
    } else {
        TRY(host_link(at, target));
    }
    nodes_.drop_flag(node, kNodeDeleted);
    return {};
}

Result<void> Root::rename(Folder& from, std::string_view old_name, Folder& to, std::string_view new_name, unsigned flags) {
    Child source = TRY(child(from, old_name));
    auto looked_up = child(to, new_name);
    if (!looked_up.ok() && looked_up.error_code() != ENOENT) return looked_up.error();
    const bool replaces = looked_up.ok();
    Child target = replaces ? looked_up.take() : Child{};
    if (!replaces && to.origin) {
        auto position = tree_.find(to.tree, new_name);
        if (position.ok()) target.position = position.value();
    }
    if (replaces && (flags & RENAME_NOREPLACE) != 0) return Errno(EEXIST);
    if (replaces && source.file.ino() == target.file.ino()) return {};

    TRY(materialize_entry(from, old_name, source));
    Place old_place = in_folder(from, old_name);
    Place new_place = in_folder(to, new_name);
    const bool source_is_dir = S_ISDIR(source.file.type());

    if ((flags & RENAME_EXCHANGE) != 0) {
        if (!replaces) return Errno(ENOENT);
        TRY(materialize_entry(to, new_name, target));
        TRY(host_rename(old_place, new_place, RENAME_EXCHANGE));
        if ((source.file.node->flags & kNodeIndexed) == 0) TRY(nodes_.move(*source.file.node, to.node, new_name));
        if ((target.file.node->flags & kNodeIndexed) == 0) TRY(nodes_.move(*target.file.node, from.node, old_name));
        const int64_t moved = (source_is_dir ? 1 : 0) - (S_ISDIR(target.file.type()) ? 1 : 0);
        note_overridden(from, source.position, -moved);
        note_overridden(to, target.position, moved);
        return {};
    }

    bool whiteout_there = false;
    const bool target_is_dir = replaces && S_ISDIR(target.file.type());
    if (replaces) {
        if (source_is_dir && !target_is_dir) return Errno(ENOTDIR);
        if (!source_is_dir && target_is_dir) return Errno(EISDIR);
        if (target_is_dir) {
            Folder emptied = TRY(folder_of(target.file));
            TRY(check_empty(emptied));
            if (target.entry) TRY(replace_by_opaque(to, new_name, target));
        } else {
            TRY(keep_open_file(to, new_name, target));
        }
    } else {
        whiteout_there = TRY(has_whiteout(new_place));
    }

    const bool leave_whiteout = source.position.has_value();
    if (source_is_dir && whiteout_there) {
        // A folder cannot replace a device: they change places, and the whiteout is where it is needed, if it is.
        TRY(host_rename(old_place, new_place, RENAME_EXCHANGE));
        if (!leave_whiteout) TRY(host_unlink(old_place));
    } else {
        TRY(host_rename(old_place, new_place, leave_whiteout ? RENAME_WHITEOUT : 0));
    }
    if ((source.file.node->flags & kNodeIndexed) == 0) TRY(nodes_.move(*source.file.node, to.node, new_name));
    note_overridden(from, source.position, source_is_dir ? -1 : 0);
    note_overridden(to, target.position, (source_is_dir ? 1 : 0) - (target_is_dir ? 1 : 0));
    if (replaces) TRY(name_removed(target));
    if ((flags & RENAME_WHITEOUT) != 0) {
        NewEntry device{S_IFCHR, 0, 0, 0, 0};
        (void)TRY(make(from, old_name, device));
    }
    return {};
}

}  // namespace templatefs
