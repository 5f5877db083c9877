// What a new worker does about the step that its predecessor died in: see intent.h.

#include <fcntl.h>
#include <unistd.h>

#include "inode/root.h"

namespace templatefs {
namespace {

// Whether the entry is there and is that inode. Whiteouts and missing entries are not.
Result<bool> leads_to(Place place, uint64_t ino) {
    auto info = read_node_info(place);
    if (!info.ok()) {
        if (info.error_code() == ENOENT) return false;
        return info.error();
    }
    return info.value() && info.value()->ino == ino;
}

}  // namespace

Result<void> Root::settle() {
    StateHeader& h = header();
    // Half-made things of the dead worker; nothing in staging/ is alive between two requests.
    TRY(clear_staging());
    restore_host_limit();
    if (h.intent.kind == IntentKind::None) return {};
    const Intent intent = h.intent;
    const bool done = TRY(settle_step(intent));
    const bool last = intent.kind == IntentKind::Make || intent.kind == IntentKind::Link ||
                      intent.kind == IntentKind::Remove || intent.kind == IntentKind::Rename ||
                      intent.kind == IntentKind::SetXattr || intent.kind == IntentKind::RemoveXattr;
    end_step(intent, done && last);
    return {};
}

// true: the step was done on the host, and it is noted now.
Result<bool> Root::settle_step(const Intent& intent) {
    Place at{area_.inodes(), nullptr};
    InodeName inode(intent.ino);
    DirRef pin;
    if (intent.folder != 0) {
        Node* folder = nodes_.find(intent.folder);
        if (folder == nullptr) return Errno(EUCLEAN);
        pin = TRY(dir(*folder));
        at = {pin->fd.get(), intent.name_bytes};
    } else {
        at.name = inode.text;
    }
    switch (intent.kind) {
        case IntentKind::None:
            return false;
        case IntentKind::Materialize:
            if (!TRY(leads_to(at, intent.ino))) return false;
            if (intent.folder != 0) TRY(restore_times({at.folder, "."}, intent.stat));
            TRY(note_materialized(intent));
            return true;
        case IntentKind::OwnContent: {
            Node* node = nodes_.find_ino(intent.ino);
            if (node == nullptr) return false;
            const PinnedPlace pinned = TRY(this->place(*node));
            const Place place = pinned;
            const NodeInfo info = TRY(node_info(place));
            if (info.is_link()) {
                // Cut short while content was copied in, or after it was emptied: the file is still what it was.
                NodeInfo link = info;
                if ((intent.flags & kIntentReplaces) != 0) TRY(mend_content(place, TRY(host_stat(place)), link));
                TRY(restore_link(place, intent));
                return false;
            }
            // The worker that died may not have come to it.
            TRY(checked_void(::fsync(TRY(open_at(place.folder, place.name, O_RDONLY)).get())));
            Intent done = intent;
            if (info.is_partial()) done.flags |= kIntentPartial;
            TRY(note_own_content(done));
            return true;
        }
        case IntentKind::Merge: {
            Node* node = nodes_.find_ino(intent.ino);
            if (node == nullptr) return false;
            const PinnedPlace pinned = TRY(this->place(*node));
            const NodeInfo info = TRY(node_info(pinned));
            if (!info.is_link()) return false;
            note_merged(*node, info);
            if (!info.whole) TRY(empty_link(pinned, intent, info));
            return true;
        }
        case IntentKind::Index:
            if (auto stat = host_stat(at); !stat.ok()) {
                if (stat.error_code() == ENOENT) return false;
                return stat.error();
            }
            TRY(note_indexed(intent));
            return true;
        case IntentKind::TreeName:
            if (!TRY(leads_to(at, intent.ino))) return false;
            TRY(note_tree_name(intent));
            return true;
        case IntentKind::Make: {
            if (intent.folder == 0) {
                // A file without a name, if the request that made it was not done; it will be made again.
                if (nodes_.find_ino(intent.ino) == nullptr) (void)host_unlink(at).ok();
                return false;
            }
            auto stat = host_stat(at);
            if (!stat.ok()) {
                if (stat.error_code() == ENOENT) return false;
                return stat.error();
            }
            auto info = TRY(read_node_info(at));
            // Also what may be a device 0:0 or a fifo that was half made: then it is made anew, over that.
            if (!info && is_whiteout_device(stat.value())) return false;
            if (info && info->ino != intent.ino) return false;
            // Made at its place, perhaps not finished.
            NodeInfo own;
            own.ino = intent.ino;
            HostStat parent = TRY(host_stat({at.folder, "."}));
            TRY(dress(at, intent.mode, intent.uid, intent.gid, parent, own));
            TRY(note_made(intent));
            return true;
        }
        case IntentKind::SetXattr:
        case IntentKind::RemoveXattr: {
            Node* node = nodes_.find_ino(intent.ino);
            if (node == nullptr) return false;
            PinnedPlace place = TRY(this->place(*node));
            auto size = host_getxattr(place, intent.name_bytes, {});
            if (!size.ok() && size.error_code() != ENODATA) return size.error();
            return size.ok() == (intent.kind == IntentKind::SetXattr);
        }
        case IntentKind::Link:
            if (!TRY(leads_to(at, intent.ino))) return false;
            if (Node* node = nodes_.find_ino(intent.ino)) nodes_.drop_flag(*node, kNodeDeleted);
            return true;
        case IntentKind::Remove:
            if ((intent.flags & kIntentEntry) != 0) {
                if (TRY(leads_to(at, intent.ino))) return false;
            } else {
                auto stat = host_stat(at);
                if (!stat.ok() && stat.error_code() == ENOENT) return false;
                if (!is_whiteout_device(TRY(std::move(stat)))) return false;
            }
            TRY(note_removed(intent));
            return true;
        case IntentKind::Rename: {
            Node* folder = nodes_.find(intent.other_folder);
            if (folder == nullptr) return Errno(EUCLEAN);
            DirRef other = TRY(dir(*folder));
            if (!TRY(leads_to({other->fd.get(), intent.other_bytes}, intent.ino))) return false;
            TRY(mend_old_name(intent));
            TRY(note_renamed(intent));
            return true;
        }
    }
    return Errno(EUCLEAN);
}

}  // namespace templatefs
