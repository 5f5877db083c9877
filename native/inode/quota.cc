// Limits of a container and the engine's counts: when they begin, how they follow each step, how they end. What they
// promise, and what that costs, is in docs/quotas.md.

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>

#include "inode/each_node.h"
#include "inode/recount.h"
#include "inode/root.h"
#include "private/allocation.h"
#include "wire/fuse_abi.h"

namespace templatefs {
namespace {

constexpr long kXfsMagic = 0x58465342;  // XFS_SUPER_MAGIC

// XFS also allocates ahead when it copies a shared block before a write. Files that get content of their own are made in
// staging/ and inherit from it that one block at a time will do.
void copy_single_blocks(int staging, uint64_t block_size) {
    fsxattr attributes{};
    if (::ioctl(staging, FS_IOC_FSGETXATTR, &attributes) < 0) return;
    attributes.fsx_xflags |= FS_XFLAG_COWEXTSIZE;
    attributes.fsx_cowextsize = static_cast<uint32_t>(block_size);
    // Without it the counts are a little too high for a while.
    (void)::ioctl(staging, FS_IOC_FSSETXATTR, &attributes);
}

bool has_inode(const Node& node) {
    if ((node.flags & kNodePrivate) == 0 || (node.flags & kNodeSuperseded) != 0) return false;
    return (node.flags & kNodeDeleted) == 0 || (node.flags & kNodeIndexed) != 0;
}

}  // namespace

void Root::start_usage() {
    UsageState& now = header().usage;
    const ContainerSettings& settings = area_.settings();
    now.limit_bytes = settings.quota_bytes;
    now.limit_inodes = settings.quota_inodes;
    now.block_size = 4096;
    struct statfs host;
    if (::fstatfs(area_.base(), &host) == 0) {
        now.block_size = static_cast<uint64_t>(host.f_bsize);
        now.allocates_ahead = host.f_type == kXfsMagic ? 1 : 0;
    }
    if (now.limit_bytes != kNoLimit) {
        if (host_quota_.kind() != HostQuotaKind::None && host_quota_.set_limit(now.limit_bytes).ok())
            now.host_quota = static_cast<uint32_t>(host_quota_.kind());
        else now.counting = kCountBytes | kCountInodes;
    }
    if (now.limit_inodes != kNoLimit) now.counting |= kCountInodes;
    if ((now.counting & kCountBytes) != 0 && now.allocates_ahead != 0) copy_single_blocks(area_.staging(), now.block_size);
}

// At the mount, when what an earlier engine left open has been removed.
Result<void> Root::load_usage() {
    UsageState& now = header().usage;
    const bool bytes = usage_.counts_bytes();
    auto stored = area_.take_usage();
    if (!stored.ok() && stored.error_code() != EROFS) return stored.error();
    if (!usage_.counts()) return {};
    const bool complete = stored.ok() && stored.value() && (!bytes || stored.value()->bytes);
    UsageTotals totals;
    if (complete) {
        totals.inodes = stored.value()->inodes;
        totals.bytes = stored.value()->bytes.value_or(0);
    } else {
        totals = TRY(recount(area_));
    }
    nodes_.set(now.used_bytes, totals.bytes);
    nodes_.set(now.used_inodes, totals.inodes);
    return {};
}

void Root::store_usage() {
    // After an unmount by force somebody may still write to what was open: then the next mount counts anew.
    if (!usage_.counts() || header().opens != 0) return;
    const bool bytes = usage_.counts_bytes();
    // Before it is durable, what was written may yet take more or less; and after a power loss the counts must not say
    // more than the disk holds.
    if (::syncfs(area_.base()) < 0) return;
    for_each_node([&](Node& node) {
        if ((node.flags & kNodeDeleted) != 0 && has_inode(node)) {
            InodeName name(node.ino);
            if (host_unlink({area_.inodes(), name.text}).ok()) usage_.drop(node);
        } else if (bytes && (node.flags & kNodeUnsettled) != 0) {
            settle_content(node);
        }
    });
    const UsageState& now = usage_.state();
    StoredUsage stored{now.used_inodes, bytes ? std::optional(now.used_bytes) : std::nullopt};
    // If it fails, the next mount counts anew.
    (void)area_.store_usage(stored).ok();
}

Result<void> Root::begin_counting(uint32_t counting) {
    UsageState& now = usage_.state();
    const UsageTotals totals = TRY(recount(area_));
    for_each_node([&](Node& node) {
        nodes_.drop_flag(node, kNodeCounted | kNodeUnsettled);
        if (!has_inode(node)) return;
        auto at = place(node);
        if (!at.ok()) return;
        auto stat = host_stat(at.value());
        if (!stat.ok()) return;
        nodes_.add_flag(node, kNodeCounted | (S_ISREG(node.mode) ? uint32_t{kNodeUnsettled} : 0U));
        nodes_.set(node.counted, allocated_bytes(stat.value()));
    });
    nodes_.set(now.used_bytes, totals.bytes);
    nodes_.set(now.used_inodes, totals.inodes);
    // Last: without it the rest means nothing.
    nodes_.set(now.counting, counting);
    return {};
}

Result<void> Root::set_limits(uint64_t bytes, uint64_t inodes) {
    UsageState& now = usage_.state();
    // Not a request: whatever of it a worker has not finished when it dies is rolled back.
    state_.begin(0);
    auto changed = [&]() -> Result<void> {
        if (bytes != now.limit_bytes && !usage_.counts_bytes()) {
            if (host_quota_.kind() != HostQuotaKind::None) {
                TRY(host_quota_.set_limit(bytes));
                const HostQuotaKind kind = bytes == kNoLimit ? HostQuotaKind::None : host_quota_.kind();
                nodes_.set(now.host_quota, static_cast<uint32_t>(kind));
            } else if (bytes != kNoLimit) {
                bool bypassed = false;
                for_each_node([&](const Node& node) {
                    const bool own = S_ISREG(node.mode) && ((node.flags & (kNodePrivate | kNodeLink)) == kNodePrivate ||
                                                            (node.flags & kNodeOwnBacking) != 0);
                    if (own && node.opens > 0 && (node.flags & kNodeCached) == 0) bypassed = true;
                });
                if (bypassed) return Errno(EBUSY);
                TRY(begin_counting(kCountBytes | kCountInodes));
                nodes_.set(now.live, 1);
            }
        }
        if (inodes != kNoLimit && !usage_.counts()) TRY(begin_counting(kCountInodes));
        nodes_.set(now.limit_bytes, bytes);
        nodes_.set(now.limit_inodes, inodes);
        return {};
    }();
    if (changed.ok()) state_.commit();
    else state_.roll_back();
    return changed;
}

// XFS allocates ahead when a file grows, up to as much again, and counts that as the file's. Far from the limit that does
// no harm. Near it, what is ahead is given back first, and from then on files are made longer before they are written to,
// for which XFS allocates nothing ahead.
void Root::make_room(uint64_t length) {
    if (usage_.state().allocates_ahead == 0 || !usage_.is_near_limit(length)) return;
    if (!ahead_) return;
    for_each_node([&](Node& node) {
        if ((node.flags & kNodeUnsettled) != 0) settle_content(node);
    });
    ahead_ = false;
}

Result<void> Root::check_allocation(int fd, uint64_t offset, uint64_t length) {
    make_room(length);
    return usage_.check_allocation(fd, offset, length);
}

Result<void> Root::check_copy(int object) {
    if (!usage_.counts_bytes()) return {};
    return usage_.check_bytes(allocated_bytes(TRY(host_stat_of(object))));
}

Result<Root::Room> Root::take_room(const File& file, int fd, uint64_t offset, uint64_t length) {
    Room room;
    room.bytes = length;
    if (!usage_.counts_bytes()) return room;
    make_room(length);
    auto fits = usage_.writable(fd, offset, length);
    if (!fits.ok() || fits.value() < length) {
        // The host may have given something back since this file was last looked at.
        settle_content(*file.node);
        fits = usage_.writable(fd, offset, length);
    }
    room.bytes = TRY(std::move(fits));
    if (usage_.state().allocates_ahead == 0) return room;
    if (!usage_.is_near_limit(length)) {
        ahead_ = true;
        return room;
    }
    room.size_before = TRY(host_stat_of(fd)).stx_size;
    if (room.size_before >= offset + room.bytes) return room;
    TRY(checked_void(::ftruncate(fd, static_cast<off_t>(offset + room.bytes))));
    room.made_longer = true;
    return room;
}

Result<void> Root::end_write(const File& file, int fd, const Room& room, uint64_t offset, uint64_t written) {
    if (room.made_longer && written < room.bytes) {
        const uint64_t end = std::max(room.size_before, written > 0 ? offset + written : 0);
        (void)!::ftruncate(fd, static_cast<off_t>(end));
    }
    return count_content(file, fd);
}

// After any change of content through `fd`. What the host allocates only when it writes pages back is seen later.
Result<void> Root::count_content(const File& file, int fd) {
    if (!usage_.counts()) return {};
    usage_.count(*file.node, TRY(host_stat_of(fd)));
    nodes_.add_flag(*file.node, kNodeUnsettled);
    return {};
}

Result<void> Root::refresh_usage() {
    if (!usage_.counts_bytes()) return {};
    state_.begin(0);
    for_each_node([&](Node& node) {
        if ((node.flags & kNodeUnsettled) != 0) count_node(node);
    });
    state_.commit();
    return {};
}

// Where the host enforces the limit it would also keep a container that is at it from deleting: a whiteout is a new entry.
// So the limit is lifted a little for that one step. A worker that dies meanwhile is followed by one that puts it back.
Result<void> Root::delete_exempt(const std::function<Result<void>()>& step) {
    constexpr uint64_t kSlack = 16 << 20;
    Usage::Exempt deleting(usage_);
    auto done = step();
    const UsageState& now = usage_.state();
    if (done.error_code() != EDQUOT || now.host_quota == 0) return done;
    const uint64_t used = std::max(host_quota_.used().ok() ? host_quota_.used().take() : 0, now.limit_bytes);
    if (!host_quota_.set_limit(used + kSlack).ok()) return done;
    done = step();
    restore_host_limit();
    return done;
}

void Root::restore_host_limit() {
    const UsageState& now = usage_.state();
    if (now.host_quota != 0) (void)host_quota_.set_limit(now.limit_bytes).ok();
}

std::optional<uint64_t> Root::used_bytes() {
    const UsageState& now = usage_.state();
    if (usage_.counts_bytes()) return now.used_bytes;
    if (now.host_quota == 0) return std::nullopt;
    auto used = host_quota_.used();
    if (!used.ok()) return std::nullopt;
    return used.value();
}

void Root::limit_statfs(fuse_kstatfs& host) {
    const UsageState& now = usage_.state();
    if (now.limit_bytes != kNoLimit && host.frsize > 0) {
        const uint64_t used = used_bytes().value_or(0);
        const uint64_t free = (now.limit_bytes > used ? now.limit_bytes - used : 0) / host.frsize;
        host.blocks = now.limit_bytes / host.frsize;
        host.bfree = std::min(host.bfree, free);
        host.bavail = std::min(host.bavail, free);
    }
    if (now.limit_inodes != kNoLimit) {
        const uint64_t free = now.limit_inodes > now.used_inodes ? now.limit_inodes - now.used_inodes : 0;
        const uint64_t host_files = host.files;
        host.files = now.limit_inodes;
        // btrfs has no number of inodes: it says 0 of 0.
        host.ffree = host_files == 0 ? free : std::min(host.ffree, free);
    }
}

void Root::count_node(Node& node) {
    if (!usage_.counts() || !has_inode(node)) return;
    auto at = place(node);
    if (!at.ok()) return;
    if (auto stat = host_stat(at.value()); stat.ok()) usage_.count(node, stat.value());
}

void Root::count_step(const Intent& intent) {
    if (!usage_.counts()) return;
    for (uint64_t folder : {intent.folder, intent.other_folder != intent.folder ? intent.other_folder : 0}) {
        if (folder == 0) continue;
        if (Node* node = nodes_.find(folder)) count_node(*node);
    }
    if (Node* node = nodes_.find_ino(intent.ino)) count_node(*node);
}

void Root::end_step(const Intent& intent, bool last) {
    count_step(intent);
    state_.disarm(last);
}

// Before the Node is forgotten: from here on the inode must take what was counted.
void Root::settle_content(Node& node) {
    if ((node.flags & kNodeUnsettled) == 0 || !usage_.counts_bytes() || !has_inode(node)) return;
    auto at = place(node);
    if (!at.ok()) return;
    Place where = at.value();
    const bool ahead = usage_.state().allocates_ahead != 0;
    auto fd = open_at(where.folder, where.name, ahead ? O_RDWR : O_RDONLY);
    if (!fd.ok()) return;
    if (ahead) release_ahead(fd.value().get(), usage_.state().block_size);
    // Blocks that were only promised are allocated now; nothing waits for the disk's cache or a journal.
    (void)::sync_file_range(fd.value().get(), 0, 0,
                            SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
    if (auto stat = host_stat_of(fd.value().get()); stat.ok()) usage_.count(node, stat.value());
}

}  // namespace templatefs
