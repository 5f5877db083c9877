// Whether content has changed since somebody looked: for merging, which then need not look again.

#include <sys/random.h>

#include "inode/root.h"
#include "private/change_mark.h"

namespace templatefs {

// At the mount. What the last engine has written down holds until something changes.
void Root::start_changes() {
    ChangeState& now = header().changes;
    auto stored = read_change_mark(area_.base());
    if (stored.ok() && stored.value()) {
        now.id = stored.value()->id;
        now.sequence = stored.value()->sequence;
        now.stored = now.wanted = 1;
        return;
    }
    now.sequence = 1;
    if (::getrandom(&now.id, sizeof now.id, 0) != sizeof now.id) now.id = 0;
}

// Before the content of a file can change. Never rolled back: too often does no harm.
void Root::note_change() {
    ChangeState& now = header().changes;
    now.sequence++;
    if (now.stored == 0) return;
    // What cannot be removed (a read-only disk) does not become untrue either.
    if (remove_change_mark(area_.base()).ok()) now.stored = 0;
}

std::string Root::change_mark() {
    ChangeState& now = header().changes;
    // From here on somebody goes by it.
    now.wanted = 1;
    return now.id == 0 ? std::string() : ChangeMark{now.id, now.sequence}.text();
}

void Root::store_changes() {
    ChangeState& now = header().changes;
    // After an unmount by force somebody may still write to what was open.
    if (now.wanted == 0 || now.stored != 0 || now.id == 0 || header().opens != 0) return;
    if (store_change_mark(area_.base(), {now.id, now.sequence}).ok()) now.stored = 1;
}

}  // namespace templatefs
