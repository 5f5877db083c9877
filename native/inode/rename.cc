// Renaming and exchanging entries of merged folders.

#include <fcntl.h>
#include <sys/stat.h>

#include "inode/folder_place.h"
#include "inode/root.h"

namespace templatefs {
namespace {

void keep_mtime(Place place, const HostStat& before) {
    auto now = host_stat(place);
    if (!now.ok()) return;
    const statx_timestamp& mtime = now.value().stx_mtime;
    if (mtime.tv_sec != before.stx_mtime.tv_sec || mtime.tv_nsec != before.stx_mtime.tv_nsec)
        (void)restore_times(place, before).ok();
}

}  // namespace

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

    const bool exchange = (flags & RENAME_EXCHANGE) != 0;
    const bool source_is_dir = S_ISDIR(source.file.type());
    const bool target_is_dir = replaces && S_ISDIR(target.file.type());
    if (exchange && !replaces) return Errno(ENOENT);
    // Before anything is made private: a rename that fails must not change the times of a folder.
    if (!exchange && replaces) {
        if (source_is_dir && !target_is_dir) return Errno(ENOTDIR);
        if (!source_is_dir && target_is_dir) return Errno(EISDIR);
        if (target_is_dir) {
            Folder emptied = TRY(folder_of(target.file));
            TRY(check_empty(emptied));
        }
    }

    TRY(materialize_entry(from, old_name, source));
    Place old_place = in_folder(from, old_name);
    Place new_place = in_folder(to, new_name);

    Intent intent{};
    intent.kind = IntentKind::Rename;
    intent.folder = from.node->nodeid;
    intent.other_folder = to.node->nodeid;
    intent.ino = source.file.ino();
    intent.set_name(old_name);
    intent.set_other_name(new_name);
    if (source.position) intent.flags |= kIntentHidesTree;

    bool whiteout_there = false;
    if (exchange) {
        TRY(materialize_entry(to, new_name, target));
        intent.flags |= kIntentExchange;
    } else if (replaces) {
        if (target_is_dir) {
            if (target.entry) TRY(replace_by_opaque(to, new_name, target));
        } else {
            TRY(keep_open_file(to, new_name, target));
        }
    } else {
        whiteout_there = TRY(has_whiteout(new_place));
    }
    if (replaces) {
        intent.flags |= kIntentReplaces | (target.entry ? uint32_t{kIntentEntry} : 0U);
        intent.other_ino = target.file.ino();
        intent.stat = target.stat;
    }

    const bool leave_whiteout = source.position.has_value();
    state_.arm(intent);
    Result<void> renamed;
    if (exchange) {
        renamed = host_rename(old_place, new_place, RENAME_EXCHANGE);
    } else if (source_is_dir && whiteout_there) {
        // A folder cannot replace a device: they change places, and the whiteout is where it is needed, if it is.
        renamed = host_rename(old_place, new_place, RENAME_EXCHANGE);
    } else {
        renamed = leave_whiteout ? host_rename_leaving_whiteout(old_place, new_place) : host_rename(old_place, new_place, 0);
    }
    if (renamed.ok() && (exchange || whiteout_there)) {
        // XFS changes the mtime of folders that change places.
        if (source_is_dir) keep_mtime(new_place, source.stat);
        if (exchange && target_is_dir) keep_mtime(old_place, target.stat);
    }
    if (renamed.ok()) {
        // It is renamed; a whiteout that hides nothing does no harm.
        if (leave_whiteout || whiteout_there) (void)mend_old_name(intent).ok();
        renamed = note_renamed(intent);
    }
    end_step(intent, renamed.ok());
    if (source_is_dir || target_is_dir) trace_.forget_folders();
    TRY(std::move(renamed));

    const int64_t arrives = source_is_dir ? 1 : 0;
    const int64_t leaves = target_is_dir ? 1 : 0;
    note_overridden(from, source.position, exchange ? leaves - arrives : -arrives);
    note_overridden(to, target.position, arrives - leaves);
    return {};
}

// The old name after a rename, which a worker may have died in the middle of: hidden if the tree has it, and gone if not.
Result<void> Root::mend_old_name(const Intent& intent) {
    if ((intent.flags & kIntentExchange) != 0) return {};
    Node* from = nodes_.find(intent.folder);
    if (from == nullptr) return Errno(ESTALE);
    DirRef pin = TRY(dir(*from));
    Place old_place{pin->fd.get(), intent.name_bytes};
    if ((intent.flags & kIntentHidesTree) != 0) {
        if (auto left = host_stat(old_place); !left.ok() && left.error_code() == ENOENT) return make_whiteout(old_place);
        return {};
    }
    // Where a folder changed places with a whiteout, nothing needs that whiteout at the old name.
    if (auto left = has_whiteout(old_place); left.ok() && left.value()) return host_unlink(old_place);
    return {};
}

Result<void> Root::note_renamed(const Intent& intent) {
    Node* from = nodes_.find(intent.folder);
    Node* to = nodes_.find(intent.other_folder);
    if (from == nullptr || to == nullptr) return Errno(ESTALE);
    const bool exchange = (intent.flags & kIntentExchange) != 0;
    Node* source = nodes_.find_ino(intent.ino);
    if (source != nullptr && (source->flags & kNodeIndexed) == 0) TRY(nodes_.move(*source, to, intent.other_name()));
    if (source != nullptr) note_ctime(*source);
    if (exchange) {
        Node* target = nodes_.find_ino(intent.other_ino);
        if (target != nullptr && (target->flags & kNodeIndexed) == 0) TRY(nodes_.move(*target, from, intent.name()));
        if (target != nullptr) note_ctime(*target);
        return {};
    }
    if ((intent.flags & kIntentReplaces) == 0) return {};
    return name_removed(intent.other_ino, (intent.flags & kIntentEntry) != 0, intent.stat);
}

}  // namespace templatefs
