// How a private file becomes a link: merging, the reverse of copy-up.
//
// The control plane says which file has the bytes of which object, and the engine believes none of it: it sees that nobody can
// change the file, compares every byte, and only then changes the file's node xattr, in one step. The host inode stays: names,
// metadata, xattrs, locks and nodeids need no care.
//
// What the host inode holds is given back at once if nobody has it open or mapped. Otherwise it stays, and the xattr says so
// (*whole*): opens and mappings from before go on reading it, new opens find the object, and a write makes the content the
// file's own again where it is, so that those from before see it, as they would have without the merging. The last close gives it back,
// or, where a mapping outlived its descriptor, a later look.
//
// Comparing takes long for a large file, and this thread serves the root meanwhile. So it is done piece by piece, each within a
// request of its own; whatever may change the file in between begins with an open for writing, which ends the comparison.
// docs/merging.md

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <memory>
#include <utility>

#include "inode/root.h"

namespace templatefs {
namespace {

constexpr size_t kPiece = 128 * 1024;
constexpr long kExt4Magic = 0xEF53;     // EXT4_SUPER_MAGIC
constexpr long kXfsMagic = 0x58465342;  // XFS_SUPER_MAGIC
constexpr long kTmpfsMagic = 0x01021994;

bool is_same(const statx_timestamp& a, const statx_timestamp& b) { return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec; }

bool is_same_object(const ObjectRef& a, const ObjectRef& b) { return a.hash == b.hash && a.variant == b.variant; }

// No one but this descriptor has the file open, for reading or mapped, whoever it is (F_WRLCK); or nobody for writing (F_RDLCK).
// Closing the descriptor gives the lease back.
enum class Lease { Granted, Refused, Unknown };
Lease take_lease(int fd, int kind) {
    if (::fcntl(fd, F_SETLEASE, kind) == 0) {
        (void)::fcntl(fd, F_SETLEASE, F_UNLCK);
        return Lease::Granted;
    }
    return errno == EAGAIN || errno == EBUSY ? Lease::Refused : Lease::Unknown;
}

// Whether the host makes changes of one file system durable in the order in which they were made: then content can be given back
// as soon as the xattr says that it is not needed. Others have to be asked to make the xattr durable first.
bool keeps_order(int fd) {
    struct statfs host;
    if (::fstatfs(fd, &host) < 0) return false;
    return host.f_type == kExt4Magic || host.f_type == kXfsMagic || host.f_type == kTmpfsMagic;
}

uint64_t now_ns() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace

MergeBudget::MergeBudget(uint64_t nanoseconds, int waiting) : end_(now_ns() + nanoseconds), longest_(end_), waiting_(waiting) {
    if (waiting_ >= 0) longest_ = std::max(end_, end_ - nanoseconds + kLongest);
}

bool MergeBudget::is_used_up() const {
    const uint64_t now = now_ns();
    if (now < end_) return false;
    if (now >= longest_) return true;
    pollfd others{waiting_, POLLIN, 0};
    return ::poll(&others, 1, 0) != 0;
}

// The file at a path of the container, by names from the root; the Nodes on the way are made, and nobody refers to them yet.
Result<File> Root::file_at(std::string_view path) {
    File at = TRY(file(kRootNodeid));
    while (!path.empty()) {
        const size_t start = path.find_first_not_of('/');
        if (start == std::string_view::npos) break;
        path.remove_prefix(start);
        const std::string name(path.substr(0, path.find('/')));
        path.remove_prefix(name.size());
        if (name.size() > 255 || name == "." || name == "..") return Errno(ENOENT);
        Folder folder = TRY(folder_of(at));
        auto next = child(folder, name);
        if (!next.ok()) {
            if (folder.node != nullptr) forget(folder.node->nodeid, 0);
            return next.error();
        }
        at = next.value().file;
    }
    return at;
}

MergeAnswer Root::merge(const MergeRequest& request, const MergeBudget& budget) {
    const MergeAnswer answer = merge_next(request, budget);
    end_merging();
    return answer;
}

MergeAnswer Root::merge_next(const MergeRequest& request, const MergeBudget& budget) {
    // Not a request of the kernel's: whatever of it a worker has not finished when it dies is rolled back.
    state_.begin(0);
    MergeAnswer answer;
    auto merged = [&]() -> Result<void> {
        File file;
        file.node = nodes_.find_ino(request.ino);
        if (file.node == nullptr) {
            auto found = file_at(request.path);
            if (found.error_code() == ENOENT || found.error_code() == ENOTDIR) return answer.skip("gone");
            file = TRY(std::move(found));
            if (file.node == nullptr || file.ino() != request.ino) {
                if (file.node != nullptr) forget(file.node->nodeid, 0);
                return answer.skip("gone");
            }
        }
        const uint64_t last = std::exchange(last_merged_, file.node->nodeid);
        // Made only for this, perhaps.
        if (last != 0 && last != file.node->nodeid) forget(last, 0);
        return merge_file(*file.node, request, budget, answer);
    }();
    if (!merged.ok()) answer.fail(merged.error_code());
    state_.commit();
    nodes_.reclaim();
    return answer;
}

void Root::end_merging() {
    merge_buffer_.reset();
    if (last_merged_ == 0) return;
    state_.begin(0);
    forget(std::exchange(last_merged_, 0), 0);
    state_.commit();
    nodes_.reclaim();
}

Result<void> Root::merge_file(Node& node, const MergeRequest& request, const MergeBudget& budget, MergeAnswer& answer) {
    constexpr uint32_t kPrivate = kNodePrivate | kNodeSuperseded;
    if (!S_ISREG(node.mode) || (node.flags & kPrivate) != kNodePrivate) return answer.skip("not private");
    // It goes with its last close.
    if ((node.flags & kNodeDeleted) != 0 || nodes_.tombstone(node) != nullptr) return answer.skip("deleted");
    PinnedPlace at = TRY(place(node));
    Place where = at;
    NodeInfo info = TRY(node_info(at));
    if (info.is_link()) {
        if (!is_same_object(info.object, request.object)) return answer.skip("a link to another object");
        // Not only what was kept: a power loss may have come between the xattr and the giving back.
        constexpr uint64_t kXattrBlocks = 8;
        if ((node.flags & kNodeWhole) != 0 || TRY(host_stat(at)).stx_blocks > kXattrBlocks) TRY(give_back_content(node, answer));
        answer.merged((node.flags & kNodeWhole) == 0);
        return {};
    }
    if (node.writers > 0) return answer.skip("open for writing");
    const HostStat stat = TRY(host_stat(at));
    const bool changed = stat.stx_size != request.size || stat.stx_mtime.tv_sec != request.mtime.tv_sec ||
                         stat.stx_mtime.tv_nsec != static_cast<uint32_t>(request.mtime.tv_nsec);
    if (changed) return answer.skip("changed");
    // They go with the content, and a power loss could come before they are back.
    auto capability = host_getxattr(at, kCapability, {});
    if (capability.ok()) return answer.skip("has file capabilities");
    if (capability.error_code() != ENODATA && capability.error_code() != EOPNOTSUPP) return capability.error();

    // Ours would be in the way of the lease.
    open_files_.erase(node.nodeid);
    OpenFile content;
    // Nobody can come to have it open while this thread is here.
    content.fd = TRY(open_alone(node, where));
    const bool alone = content.fd.valid();
    if (!alone) {
        content.fd = TRY(open_at(where.folder, where.name, O_RDONLY | O_NOATIME | O_NONBLOCK));
        switch (take_lease(content.fd.get(), F_RDLCK)) {
            case Lease::Refused:
                return answer.skip("mapped for writing");
            case Lease::Unknown:
                return answer.skip("the store's file system has no leases");
            case Lease::Granted:
                break;
        }
    }
    // What it was open for writing for is over.
    nodes_.drop_flag(node, kNodeLateStores);
    UniqueFd object = TRY(open_object(request.object, O_RDONLY));
    if (TRY(host_stat_of(object.get())).stx_size != request.size || request.size == 0) return answer.skip("different");
    if (info.is_partial()) {
        content.object = TRY(open_object(info.object, O_RDONLY));
        content.shown = info.object.size;
    }

    const bool goes_on = comparing_.ino == node.ino && is_same_object(comparing_.object, request.object) &&
                         is_same(comparing_.ctime, stat.stx_ctime);
    if (!goes_on) comparing_ = {node.ino, request.object, stat.stx_ctime, 0};
    auto equal = compare(content, object.get(), request.size, budget);
    if (!equal.ok() || equal.value() != Comparison::Unfinished) comparing_.ino = 0;
    switch (TRY(std::move(equal))) {
        case Comparison::Unfinished:
            answer.unfinished(comparing_.offset);
            return {};
        case Comparison::Different:
            return answer.skip("different");
        case Comparison::Equal:
            break;
    }
    NodeInfo link = info;
    link.kind = NodeInfo::Kind::Link;
    link.object = request.object;
    link.object.size = request.size;
    link.ctime = timespec{stat.stx_ctime.tv_sec, static_cast<long>(stat.stx_ctime.tv_nsec)};
    if (!alone) {
        content.fd.reset();
        content.fd = TRY(open_alone(node, where));
    }
    link.whole = !content.fd.valid();
    // What it has of its own is not all of the content.
    if (link.whole && info.is_partial()) return answer.skip("in use");

    Intent intent{};
    intent.kind = IntentKind::Merge;
    intent.ino = node.ino;
    intent.stat = stat;
    state_.arm(intent);
    auto step = [&]() -> Result<void> {
        TRY(write_node_info(at, link));
        note_merged(node, link);
        if (!link.whole) TRY(empty_link(content.fd.get(), at, intent, link));
        return {};
    }();
    end_step(intent, false);
    // It is a link now, also if not all that it took could be given back.
    if (!step.ok() && (node.flags & kNodeLink) == 0) return step;
    answer.merged(!link.whole);
    if (!link.whole) note_freed(at, stat, answer);
    return {};
}

// Compares from where the last request stopped.
Result<Root::Comparison> Root::compare(const OpenFile& content, int object, uint64_t size, const MergeBudget& budget) {
    // Not filled with zeros: that takes as long as comparing a small file.
    if (!merge_buffer_) merge_buffer_ = std::make_unique_for_overwrite<std::byte[]>(2 * kPiece);
    const std::span<std::byte> own(merge_buffer_.get(), kPiece), shared(merge_buffer_.get() + kPiece, kPiece);
    const auto read_fully = [](int fd, std::span<std::byte> to, uint64_t offset) -> Result<size_t> {
        size_t got = 0;
        while (got < to.size()) {
            const ssize_t count = ::pread(fd, to.data() + got, to.size() - got, static_cast<off_t>(offset + got));
            if (count < 0 && errno == EINTR) continue;
            if (count < 0) return Errno::last();
            if (count == 0) break;
            got += static_cast<size_t>(count);
        }
        return got;
    };
    while (comparing_.offset < size) {
        const auto length = static_cast<size_t>(std::min<uint64_t>(kPiece, size - comparing_.offset));
        const std::span<std::byte> mine = own.first(length);
        const size_t got = content.object.valid() ? TRY(read_partial(partial(content), mine, comparing_.offset))
                                                  : TRY(read_fully(content.fd.get(), mine, comparing_.offset));
        const size_t theirs = TRY(read_fully(object, shared.first(length), comparing_.offset));
        if (got != length || theirs != length) return Comparison::Different;
        if (std::memcmp(own.data(), shared.data(), length) != 0) return Comparison::Different;
        comparing_.offset += length;
        if (comparing_.offset < size && budget.is_used_up()) return Comparison::Unfinished;
    }
    return Comparison::Equal;
}

// A descriptor of the host inode if nobody else reads or writes it, by passthrough or by a mapping, which the host knows; one that
// is not valid if somebody may.
Result<UniqueFd> Root::open_alone(const Node& node, Place where) {
    if (node.opens > 0 && (node.flags & kNodeCached) == 0) return UniqueFd();
    open_files_.erase(node.nodeid);
    auto opened = open_at(where.folder, where.name, O_RDWR | O_NOATIME | O_NONBLOCK);
    // It is being executed.
    if (opened.error_code() == ETXTBSY) return UniqueFd();
    UniqueFd fd = TRY(std::move(opened));
    if (take_lease(fd.get(), F_WRLCK) != Lease::Granted) return UniqueFd();
    return fd;
}

Result<bool> Root::is_in_use(const Node& node, Place where) { return !TRY(open_alone(node, where)).valid(); }

void Root::note_merged(Node& node, const NodeInfo& link) {
    nodes_.drop_flag(node, kNodePartial | kNodeWhole);
    nodes_.add_flag(node, kNodeLink | kNodeAdopted | (link.whole ? uint32_t{kNodeWhole} : 0U));
    note_new_xattr(node);
    open_files_.erase(node.nodeid);
    // All passthrough opens of one nodeid share one backing file: the object's turn comes after the last close.
    if (node.opens > 0 && (node.flags & kNodeCached) == 0) nodes_.add_flag(node, kNodeOwnBacking);
    else close_backing(node);
}

// Gives back what a link's host inode takes. Its size, times and set-id bits stay.
Result<void> Root::empty_link(Place where, const Intent& intent, const NodeInfo& link) {
    return empty_link(TRY(open_at(where.folder, where.name, O_RDWR)).get(), where, intent, link);
}

Result<void> Root::empty_link(int fd, Place where, const Intent& intent, const NodeInfo& link) {
    if (!keeps_order_) keeps_order_ = keeps_order(fd);
    if (!*keeps_order_) TRY(checked_void(::fsync(fd)));
    const auto size = static_cast<off_t>(link.object.size);
    // A block that the range only begins in would be filled with zeros.
    const auto end = static_cast<off_t>((link.object.size + block_ - 1) / block_ * block_);
    auto emptied = checked_void(::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, end));
    if (emptied.error_code() == EOPNOTSUPP) {
        emptied = checked_void(::ftruncate(fd, 0));
        if (emptied.ok()) emptied = checked_void(::ftruncate(fd, size));
    }
    auto restored = restore_times(where, intent.stat);
    return emptied.ok() ? std::move(restored) : std::move(emptied);
}

void Root::note_freed(Place where, const HostStat& before, MergeAnswer& answer) {
    auto after = host_stat(where);
    if (after.ok() && after.value().stx_blocks < before.stx_blocks)
        answer.freed += (before.stx_blocks - after.value().stx_blocks) * 512;
}

// What a link has kept for those that had it open or mapped, if that is over.
Result<void> Root::give_back_content(Node& node, MergeAnswer& answer) {
    if (node.opens > 0 && (node.flags & kNodeCached) == 0) return {};
    PinnedPlace at = TRY(place(node));
    if (TRY(is_in_use(node, at))) return {};
    NodeInfo link = TRY(node_info(at));
    if (!link.is_link()) return Errno(EUCLEAN);
    const HostStat stat = TRY(host_stat(at));
    // As in the merging: nothing may come between that has file capabilities taken away.
    if (host_getxattr(at, kCapability, {}).ok()) return {};
    link.whole = false;
    // The container may have changed metadata since it was merged: from then on it was the host's.
    if (!link.ctime) link.ctime = timespec{stat.stx_ctime.tv_sec, static_cast<long>(stat.stx_ctime.tv_nsec)};
    Intent intent{};
    intent.kind = IntentKind::Merge;
    intent.ino = node.ino;
    intent.stat = stat;
    state_.arm(intent);
    auto step = write_node_info(at, link);
    if (step.ok()) {
        note_merged(node, link);
        step = empty_link(at, intent, link);
    }
    end_step(intent, false);
    TRY(std::move(step));
    note_freed(at, stat, answer);
    return {};
}

// The last open of a link that had kept its content is closed.
void Root::release_own_backing(Node& node) {
    nodes_.drop_flag(node, kNodeOwnBacking);
    close_backing(node);
    if ((node.flags & (kNodeWhole | kNodeDeleted)) != kNodeWhole) return;
    MergeAnswer ignored;
    // If it cannot be given back now, it is when a merging next looks at the file.
    (void)give_back_content(node, ignored).ok();
}

// A change of metadata by the container: from here on the ctime of the host inode is right again.
void Root::note_ctime(Node& node) {
    if ((node.flags & kNodeAdopted) == 0) return;
    auto at = place(node);
    if (!at.ok()) return;
    auto info = read_node_info(at.value());
    if (!info.ok() || !info.value() || !info.value()->ctime) return;
    info.value()->ctime.reset();
    (void)write_node_info(at.value(), *info.value()).ok();
}

// Whether its ctime and blocks are not simply those of the host inode, or of its file in the tree.
uint32_t Root::adopted_flag(const NodeInfo& info) const {
    if (!info.is_link()) return 0;
    const uint32_t whole = info.whole ? uint32_t{kNodeWhole} : 0U;
    if (info.ctime || info.origin == kNoOrigin) return whole | kNodeAdopted;
    auto node = tree_node(info.origin);
    if (!node.ok() || !node.value().is_regular() || node.value().data_a == kNoObject) return whole | kNodeAdopted;
    auto object = tree_.object(node.value());
    return object.ok() && is_same_object(object.value(), info.object) ? whole : whole | kNodeAdopted;
}

}  // namespace templatefs
