#include "inode/root.h"

#include <dirent.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace templatefs {
namespace {

// Descriptors of private folders kept open at once: enough for the working set of a build, and far below the
// limits of a host with hundreds of engines.
constexpr size_t kOpenFolders = 512;
constexpr size_t kOpenFiles = 512;
constexpr uint64_t kInoReservation = 65536;

bool is_dot(const char* name) { return name[0] == '.' && (name[1] == 0 || (name[1] == '.' && name[2] == 0)); }

// No less than a page and a block of the host: what it makes data of at once.
uint32_t block_size(int folder) {
    struct statvfs host;
    const auto page = static_cast<unsigned long>(::sysconf(_SC_PAGESIZE));
    if (::fstatvfs(folder, &host) < 0) return static_cast<uint32_t>(page);
    return static_cast<uint32_t>(std::max(page, host.f_bsize));
}

timespec to_timespec(const statx_timestamp& time) { return {time.tv_sec, static_cast<long>(time.tv_nsec)}; }

}  // namespace

Root::Root(Parts parts, SharedState& state)
    : objects_(std::move(parts.objects)),
      tree_(std::move(parts.tree)),
      area_(std::move(parts.area)),
      ids_(std::move(parts.ids)),
      fuse_(parts.fuse),
      state_(state),
      nodes_(state),
      dirs_(kOpenFolders),
      open_files_(kOpenFiles),
      usage_(nodes_),
      host_quota_(HostQuota::probe(area_.base(), parts.outside)),
      whole_copy_limit_(parts.whole_copy_limit),
      max_nodes_(parts.max_nodes),
      block_(block_size(area_.inodes())) {
    find_shared_folders(parts.shared);
}

// On a file system that has become read-only it stays there, and what the root shows does not depend on it.
Result<void> Root::clear_staging() {
    auto cleared = area_.clear_staging();
    if (cleared.error_code() == EROFS) return {};
    return cleared;
}

uint32_t Root::content_flags(const NodeInfo& info) const {
    if (info.is_partial()) return kNodePartial;
    return info.is_link() ? kNodeLink | adopted_flag(info) : 0U;
}

Result<void> Root::recover() {
    TRY(clear_staging());
    forget_trace();
    start_usage();
    start_changes();
    Node* root = TRY(nodes_.create(kRootNodeid, 1));
    root->mode = S_IFDIR;
    root->origin = 0;
    root->lookups = 1;
    nodes_.set(header().root_slot, nodes_.slot_of(*root));
    auto info = TRY(read_node_info({area_.root(), "."}));
    nodes_.add_flag(*root, kNodePrivate | kNodeMerged | (info ? 0U : uint32_t{kNodePristine}));
    usage_.know(*root, TRY(host_stat({area_.root(), "."})));
    TRY(load_indexed());
    TRY(load_usage());
    state_.commit();
    return {};
}

// Inodes in inodes/: those without names are what was open and unlinked when the engine ended; those of tree nodes must be
// known before their tree names are looked up.
Result<void> Root::load_indexed() {
    UniqueFd folder = TRY(open_at(area_.inodes(), ".", O_RDONLY | O_DIRECTORY));
    DIR* stream = ::fdopendir(folder.get());
    if (stream == nullptr) return Errno::last();
    folder.release();
    std::unique_ptr<DIR, int (*)(DIR*)> closer(stream, ::closedir);
    while (const dirent* entry = ::readdir(stream)) {
        if (is_dot(entry->d_name)) continue;
        Place place{area_.inodes(), entry->d_name};
        auto info = TRY(read_node_info(place));
        HostStat stat = TRY(host_stat(place));
        if (!info || (stat.stx_nlink == 1 && (!info->indexed || info->tree_links == 0))) {
            auto removed = host_unlink(place);
            if (!removed.ok() && removed.error_code() != EROFS) return removed;
            continue;
        }
        if (!info->indexed) {
            // A power loss between the name here and the flag: without it the name would count as one of the container's.
            info->indexed = true;
            auto flagged = write_node_info(place, *info);
            if (!flagged.ok() && flagged.error_code() != EROFS) return flagged;
        }
        TRY(mend_content(place, stat, *info));
        if (info->ino >= kFirstPrivateIno) continue;
        Node* node = TRY(nodes_.create(info->ino, info->ino));
        node->mode = stat.stx_mode & S_IFMT;
        node->origin = info->origin;
        node->tree_links = info->tree_links;
        nodes_.add_flag(*node, kNodePrivate | kNodeIndexed | content_flags(*info));
        usage_.know(*node, stat);
        state_.commit();
    }
    return {};
}

void Root::finish() {
    // As with any other file system: what was written is durable after the unmount.
    if (::syncfs(area_.base()) < 0)
        std::fprintf(stderr, "templatefs-engine: not all that was written is durable: %s\n", std::strerror(errno));
    store_usage();
    store_changes();
    if (header().next_ino == 0) return;
    // Best effort: if it fails, the numbers up to the reservation are skipped.
    (void)area_.store_inos({header().next_ino, header().reserved_ino}, false).ok();
}

Result<uint64_t> Root::new_ino() {
    StateHeader& h = header();
    if (h.next_ino == 0) {
        InoRange range = TRY(area_.load_inos());
        // Until a clean stop writes `next` back, a successor of this engine starts at the reservation.
        if (range.next < range.reserved) TRY(area_.store_inos({range.reserved, range.reserved}, false));
        h.reserved_ino = range.reserved;
        h.next_ino = range.next;
    }
    if (h.next_ino == h.reserved_ino) {
        uint64_t reserved = h.reserved_ino + kInoReservation;
        TRY(area_.store_inos({reserved, reserved}, true));
        h.reserved_ino = reserved;
    }
    uint64_t ino = h.next_ino;
    // Not rolled back: a number that a dead worker had given out may be on the host already.
    h.next_ino = ino + 1;
    return ino;
}

std::string Root::staging_name() {
    uint64_t number = header().staging_counter + 1;
    header().staging_counter = number;
    char text[24];
    std::snprintf(text, sizeof text, "s%llx", static_cast<unsigned long long>(number));
    return text;
}

Result<File> Root::file(uint64_t nodeid) {
    File file;
    file.node = nodes_.find(nodeid);
    if (file.node != nullptr && (file.node->flags & kNodeSuperseded) != 0) file.node = nodes_.find_ino(file.node->ino);
    if (file.node == nullptr && !is_tree_nodeid(nodeid)) return Errno(ESTALE);
    if (file.is_private()) {
        file.index = file.node->origin;
        return file;
    }
    uint64_t index = nodeid - 1;
    if (nodeid == 0 || index >= tree_.node_count()) return Errno(ESTALE);
    file.index = static_cast<NodeIndex>(index);
    file.tree = TRY(tree_node(file.index));
    return file;
}

Result<File> Root::opened_file(uint64_t nodeid) {
    const Node* node = nodes_.find(nodeid);
    if (node == nullptr || (node->flags & kNodeSuperseded) == 0 || node->origin == kNoOrigin) return file(nodeid);
    File old;
    old.index = node->origin;
    old.tree = TRY(tree_node(old.index));
    return old;
}

Result<Folder> Root::folder(uint64_t nodeid) {
    File found = TRY(file(nodeid));
    return folder_of(found);
}

Result<Folder> Root::folder_of(const File& file) {
    if (!S_ISDIR(file.type())) return Errno(ENOTDIR);
    Folder folder;
    if (file.is_private()) {
        folder.node = file.node;
        if ((file.node->flags & kNodeDeleted) == 0) folder.dir = TRY(dir(*file.node));
        if ((file.node->flags & kNodeMerged) != 0) {
            folder.origin = file.node->origin;
            folder.tree = TRY(tree_node(file.node->origin));
            if (!folder.tree.is_dir()) return Errno(EUCLEAN);
        }
    } else if (file.node == nullptr || (file.node->flags & kNodeDeleted) == 0) {
        folder.origin = file.index;
        folder.tree = file.tree;
    }
    return folder;
}

Result<Folder> Root::private_folder(uint64_t nodeid) {
    File found = TRY(file(nodeid));
    if (!S_ISDIR(found.type())) return Errno(ENOTDIR);
    if (found.node != nullptr && (found.node->flags & kNodeDeleted) != 0) return Errno(ENOENT);
    if (!found.is_private()) {
        found.node = TRY(private_tree_folder(found.index));
    } else if ((found.node->flags & kNodePristine) != 0) {
        TRY(copy_up_root());
    }
    return folder_of(found);
}

Result<DirRef> Root::dir(Node& node) {
    if (DirRef known = dirs_.find(node.nodeid)) return known;
    // Upwards to the next folder that is open, then down again, one descriptor after the other: no recursion, however
    // deep the folder lies.
    std::vector<Node*> chain;
    DirRef handle;
    for (Node* at = &node;;) {
        chain.push_back(at);
        if (at->nodeid == kRootNodeid) break;
        if (at->parent == 0) return Errno(ESTALE);
        at = nodes_.at(at->parent);
        if ((handle = dirs_.find(at->nodeid))) break;
    }
    while (!chain.empty()) {
        Node* at = chain.back();
        chain.pop_back();
        auto next = std::make_shared<DirHandle>();
        if (at->nodeid == kRootNodeid) {
            next->fd = TRY(open_at(area_.root(), ".", O_RDONLY | O_DIRECTORY));
        } else {
            next->fd = TRY(open_at(handle->fd.get(), nodes_.name(*at).data(), O_RDONLY | O_DIRECTORY));
        }
        dirs_.insert(at->nodeid, next);
        handle = std::move(next);
    }
    return handle;
}

Result<PinnedPlace> Root::place(Node& node) {
    if ((node.flags & kNodeIndexed) != 0) return PinnedPlace(area_.inodes(), InodeName(node.ino));
    if (node.nodeid == kRootNodeid) return PinnedPlace(area_.root(), ".");
    if (node.parent == 0) return Errno(ESTALE);
    DirRef parent = TRY(dir(*nodes_.at(node.parent)));
    const int folder = parent->fd.get();
    return PinnedPlace(folder, nodes_.name(node).data(), std::move(parent));
}

// What a truncation that was cut short, or a power loss, left: the host inode and its xattr do not agree.
Result<void> Root::mend_content(Place place, const HostStat& stat, NodeInfo& info) {
    if (info.is_link() && stat.stx_size != info.object.size) {
        // A truncating open, before the link became a file of its own.
        if (info.whole) {
            info.whole = false;
            TRY(write_node_info(place, info));
        }
        UniqueFd fd = TRY(open_at(place.folder, place.name, O_WRONLY));
        return checked_void(::ftruncate(fd.get(), static_cast<off_t>(info.object.size)));
    }
    if (!info.is_partial()) return {};
    std::array<std::byte, 64> capability;
    auto capability_size = host_getxattr(place, kCapability, capability);
    auto opened = open_at(place.folder, place.name, O_RDWR);
    // A read-only store still serves what needs no mending.
    const bool read_only = opened.error_code() == EROFS;
    if (read_only) opened = open_at(place.folder, place.name, O_RDONLY);
    auto dropped = drop_unwritten(TRY(std::move(opened)).get(), info.object.size);
    if (read_only && dropped.error_code() == EBADF) return Errno(EROFS);
    if (TRY(std::move(dropped))) {
        if (capability_size.ok()) TRY(host_setxattr(place, kCapability, std::span(capability).first(capability_size.value()), 0));
        TRY(restore_times(place, stat));
    }
    if (stat.stx_size < info.object.size) {
        info.object.size = stat.stx_size;
        auto written = write_node_info(place, info);
        // Whoever opens it sees that it is shorter.
        if (written.error_code() != EROFS) return written;
    }
    return {};
}

// The Node of a private entry that was found by name.
Result<Node*> Root::note_entry(Node& parent, std::string_view name, const HostStat& stat, std::optional<NodeInfo> info) {
    DirRef folder = TRY(dir(parent));
    Place place{folder->fd.get(), name.data()};
    if (!info) {
        info.emplace();
        info->ino = TRY(new_ino());
        TRY(write_node_info(place, *info));
    }
    if (Node* known = nodes_.find_ino(info->ino)) return known;
    TRY(check_node_room());
    TRY(mend_content(place, stat, *info));
    uint64_t nodeid = info->ino < kFirstPrivateIno && nodes_.find(info->ino) == nullptr ? info->ino : 0;
    if (info->origin != kNoOrigin && info->origin >= tree_.node_count()) return Errno(EUCLEAN);
    Node* node = TRY(nodes_.create(nodeid, info->ino));
    node->mode = stat.stx_mode & S_IFMT;
    node->origin = info->origin;
    node->tree_links = info->tree_links;
    uint32_t flags = kNodePrivate;
    if (info->indexed) flags |= kNodeIndexed;
    flags |= content_flags(*info);
    if (S_ISDIR(node->mode) && info->origin != kNoOrigin) flags |= kNodeMerged;
    nodes_.add_flag(*node, flags);
    usage_.know(*node, stat);
    if (!info->indexed) TRY(nodes_.move(*node, &parent, name));
    return node;
}

Result<Child> Root::child(Folder& folder, std::string_view name) {
    if (trace_.is_on()) trace_name(folder, name);
    return find_child(folder, name);
}

Result<Child> Root::find_child(Folder& folder, std::string_view name) {
    Child found;
    if (folder.origin) {
        auto position = tree_.find(folder.tree, name);
        if (position.ok()) found.position = position.value();
        else if (position.error_code() != ENOENT) return position.error();
    }
    bool may_have_entry = folder.dir != nullptr;
    if (may_have_entry && folder.dir->scanned && found.position) may_have_entry = folder.dir->overridden[*found.position];
    if (may_have_entry) {
        Place place{folder.dir->fd.get(), name.data()};
        auto stat = host_stat(place);
        if (stat.ok()) {
            auto info = TRY(read_node_info(place));
            if (!info && is_whiteout_device(stat.value())) return Errno(ENOENT);
            found.file.node = TRY(note_entry(*folder.node, name, stat.value(), info));
            found.file.index = found.file.node->origin;
            found.entry = true;
            found.stat = stat.value();
            return found;
        }
        if (stat.error_code() != ENOENT) return stat.error();
    }
    if (!found.position) return Errno(ENOENT);
    return tree_child(folder, *found.position);
}

Result<Child> Root::tree_child(Folder& folder, uint32_t position) {
    Child found;
    found.position = position;
    TreeImage::Child in_tree = TRY(tree_.child_at(*folder.origin, folder.tree, position, nullptr));
    found.file.index = in_tree.index;
    found.file.tree = in_tree.node;
    found.file.node = nodes_.find(uint64_t{in_tree.index} + 1);
    if (found.file.node != nullptr && (found.file.node->flags & kNodeSuperseded) != 0)
        found.file.node = nodes_.find_ino(found.file.node->ino);
    // A private folder never shows through a tree name: it has an entry of its own where it is now.
    if (found.file.is_private() && S_ISDIR(found.file.node->mode)) return Errno(EUCLEAN);
    return found;
}

Result<void> Root::scan(Folder& folder) {
    if (!folder.dir || folder.dir->scanned) return {};
    DirHandle& handle = *folder.dir;
    handle.overridden.assign(folder.origin ? folder.tree.data_b : 0, false);
    handle.subfolder_change = 0;
    UniqueFd fd = TRY(open_at(handle.fd.get(), ".", O_RDONLY | O_DIRECTORY));
    alignas(8) char buffer[16384];
    for (;;) {
        long size = ::syscall(SYS_getdents64, fd.get(), buffer, sizeof buffer);
        if (size < 0) return Errno::last();
        if (size == 0) break;
        for (long at = 0; at < size;) {
            const auto* entry = reinterpret_cast<const dirent64*>(buffer + at);
            at += entry->d_reclen;
            if (is_dot(entry->d_name)) continue;
            uint8_t type = entry->d_type;
            if (type == DT_UNKNOWN) type = static_cast<uint8_t>(IFTODT(TRY(host_stat({fd.get(), entry->d_name})).stx_mode));
            auto position = folder.origin ? tree_.find(folder.tree, entry->d_name) : Result<uint32_t>(Errno(ENOENT));
            if (position.ok()) {
                handle.overridden[position.value()] = true;
                TreeEntry hidden = TRY(tree_.entry(folder.tree, position.value()));
                if (hidden.type == DT_DIR) handle.subfolder_change--;
            } else if (position.error_code() != ENOENT) {
                return position.error();
            }
            if (type == DT_DIR) handle.subfolder_change++;
        }
    }
    handle.scanned = true;
    return {};
}

void Root::note_overridden(Folder& folder, std::optional<uint32_t> position, int64_t subfolders) {
    if (!folder.dir || !folder.dir->scanned) return;
    if (position) folder.dir->overridden[*position] = true;
    folder.dir->subfolder_change += subfolders;
}

Result<void> Root::check_empty(Folder& folder) {
    if (folder.dir) {
        UniqueFd fd = TRY(open_at(folder.dir->fd.get(), ".", O_RDONLY | O_DIRECTORY));
        alignas(8) char buffer[4096];
        for (;;) {
            long size = ::syscall(SYS_getdents64, fd.get(), buffer, sizeof buffer);
            if (size < 0) return Errno::last();
            if (size == 0) break;
            for (long at = 0; at < size;) {
                const auto* entry = reinterpret_cast<const dirent64*>(buffer + at);
                at += entry->d_reclen;
                if (is_dot(entry->d_name)) continue;
                Place place{fd.get(), entry->d_name};
                HostStat stat = TRY(host_stat(place));
                if (!is_whiteout_device(stat)) return Errno(ENOTEMPTY);
                if (TRY(read_node_info(place))) return Errno(ENOTEMPTY);
            }
        }
    }
    if (folder.origin && folder.tree.data_b > 0) {
        if (!folder.dir) return Errno(ENOTEMPTY);
        TRY(scan(folder));
        for (bool overridden : folder.dir->overridden)
            if (!overridden) return Errno(ENOTEMPTY);
    }
    return {};
}

// A file of the tree was not born when it became private: what statx(2) says of its birth is what it said before, the
// mtime in the tree, which has no time of birth.
Result<timespec> Root::birth(const Node& node, timespec host_birth) const {
    if (node.ino == 0 || node.ino > tree_.node_count()) return host_birth;
    TreeNode tree = TRY(tree_node(static_cast<NodeIndex>(node.ino - 1)));
    return timespec{tree.mtime_sec, static_cast<long>(tree.mtime_nsec)};
}

Result<Attributes> Root::attributes(const File& file, const HostStat* known) {
    Attributes attributes;
    if (file.is_private() && (file.node->flags & kNodePristine) == 0) {
        Node& node = *file.node;
        attributes.ino = node.ino;
        if (const Tombstone* tombstone = nodes_.tombstone(node)) {
            attributes.mode = tombstone->mode;
            attributes.uid = tombstone->uid;
            attributes.gid = tombstone->gid;
            attributes.size = tombstone->size;
            attributes.atime = {tombstone->atime, static_cast<long>(tombstone->atime_nsec)};
            attributes.mtime = {tombstone->mtime, static_cast<long>(tombstone->mtime_nsec)};
            attributes.ctime = {tombstone->ctime, static_cast<long>(tombstone->ctime_nsec)};
            attributes.btime = TRY(birth(node, attributes.ctime));
            return attributes;
        }
        HostStat stat;
        if (known != nullptr) {
            stat = *known;
        } else {
            PinnedPlace at = TRY(place(node));
            stat = TRY(host_stat(at));
        }
        attributes.mode = stat.stx_mode;
        attributes.uid = stat.stx_uid;
        attributes.gid = stat.stx_gid;
        attributes.size = stat.stx_size;
        attributes.blocks = stat.stx_blocks;
        attributes.atime = to_timespec(stat.stx_atime);
        attributes.mtime = to_timespec(stat.stx_mtime);
        attributes.ctime = to_timespec(stat.stx_ctime);
        attributes.btime = TRY(birth(node, to_timespec(stat.stx_btime)));
        attributes.rdev = static_cast<uint32_t>((stat.stx_rdev_minor & 0xff) | (stat.stx_rdev_major << 8) |
                                                ((stat.stx_rdev_minor & ~0xffU) << 12));
        if ((node.flags & (kNodeLink | kNodePartial)) != 0) {
            // The container sees the blocks of the content, of which the host inode has none, or not all.
            const uint64_t full = (stat.stx_size + 4095) / 4096 * 8;
            uint64_t blocks = node.origin != kNoOrigin ? TRY(tree_node(node.origin)).blocks : full;
            if ((node.flags & kNodeAdopted) != 0) {
                const NodeInfo info = TRY(node_info(TRY(place(node))));
                if (info.ctime) attributes.ctime = *info.ctime;
                auto object = host_stat({objects_.get(), object_path(info.object).text});
                // What the host inode has are xattrs, or all of the content.
                if ((node.flags & kNodeWhole) != 0) blocks = stat.stx_blocks;
                else blocks = (object.ok() ? object.value().stx_blocks : full) + stat.stx_blocks;
            }
            if ((node.flags & kNodePartial) != 0) blocks = std::max<uint64_t>(std::min(blocks, full), stat.stx_blocks);
            attributes.blocks = blocks;
        }
        if (!S_ISDIR(node.mode)) {
            attributes.nlink = TRY(names_left(node, stat));
        } else if ((node.flags & kNodeMerged) == 0) {
            attributes.nlink = stat.stx_nlink;
            if (stat.stx_nlink < 2) {
                // The host does not count the subfolders (btrfs, overlayfs): the container sees what ext4 would say.
                Folder folder = TRY(folder_of(file));
                TRY(scan(folder));
                attributes.nlink = static_cast<uint32_t>(2 + (folder.dir ? folder.dir->subfolder_change : 0));
            }
        } else {
            Folder folder = TRY(folder_of(file));
            TRY(scan(folder));
            attributes.nlink = static_cast<uint32_t>(folder.tree.nlink + (folder.dir ? folder.dir->subfolder_change : 0));
        }
        return attributes;
    }
    TreeNode tree = file.tree;
    uint32_t nlink_change = 0;
    if (file.is_private()) {
        // The root folder before its first own change of metadata.
        Folder folder = TRY(folder_of(file));
        tree = folder.tree;
        TRY(scan(folder));
        nlink_change = static_cast<uint32_t>(folder.dir ? folder.dir->subfolder_change : 0);
    }
    attributes.ino = file.ino();
    attributes.mode = tree.mode;
    attributes.uid = tree.uid;
    attributes.gid = tree.gid;
    attributes.nlink = tree.nlink + nlink_change;
    if (file.node != nullptr && (file.node->flags & kNodeDeleted) != 0) attributes.nlink = 0;
    attributes.size = tree.is_dir() ? 4096 : tree.size;
    attributes.blocks = tree.is_dir() ? 8 : tree.blocks;
    attributes.rdev = tree.rdev;
    attributes.mtime = {tree.mtime_sec, static_cast<long>(tree.mtime_nsec)};
    attributes.atime = attributes.ctime = attributes.btime = attributes.mtime;
    return attributes;
}

Result<uint32_t> Root::names_left(const Node& node, const HostStat& stat) const {
    if ((node.flags & kNodeDeleted) != 0) return 0u;
    uint32_t indexed = (node.flags & kNodeIndexed) != 0 ? 1 : 0;
    return stat.stx_nlink - indexed + node.tree_links;
}

Result<bool> Root::has_default_acl(Folder& folder) {
    using Acl = DirHandle::DefaultAcl;
    if (folder.dir->default_acl == Acl::Unknown) {
        auto size = host_getxattr({folder.dir->fd.get(), "."}, "system.posix_acl_default", {});
        if (!size.ok() && size.error_code() != ENODATA && size.error_code() != EOPNOTSUPP) return size.error();
        folder.dir->default_acl = size.ok() && size.value() > 0 ? Acl::Present : Acl::None;
    }
    return folder.dir->default_acl == Acl::Present;
}

void Root::drop_caches() {
    dirs_.clear();
    open_files_.clear();
    tree_.drop_pages();
}

}  // namespace templatefs
