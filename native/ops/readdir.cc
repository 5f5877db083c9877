// Listing a merged folder without any state between requests.
//
// First come "." and "..", then the names of the tree folder in its order, whatever they lead to now, then the private
// names that the tree folder does not have, in the order of the host. A name never changes its place while it exists, so
// a listing that goes on while entries come and go shows each name that stays exactly once, as a local file system does.
//
// Offsets: 1 and 2 after "." and "..", 3 + p after position p of the tree folder; then kPrivate and the host's own offset.
// ext4's offsets take 63 bits, two more than are left: their lowest bits (of the minor hash) are dropped, and seeking to
// the smaller number at worst repeats a name whose hash agrees in the 61 others.

#include <dirent.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "ops/entry_reply.h"
#include "ops/operation.h"

namespace templatefs {
namespace {

constexpr uint64_t kPrivate = 1ULL << 62;
constexpr uint64_t kShifted = 1ULL << 61;
constexpr uint64_t kDot = 1, kDotDot = 2, kFirstTreeOffset = 3;

uint64_t to_offset(uint64_t host) { return host < kShifted ? kPrivate | host : kPrivate | kShifted | host >> 2; }

uint64_t to_host(uint64_t offset) {
    uint64_t low = offset & (kShifted - 1);
    return (offset & kShifted) != 0 ? low << 2 : low;
}

// Writes entries into the reply until it is full.
class Listing {
public:
    Listing(Operation& op, size_t limit, bool plus) : op_(op), plus_(plus), space_(op.reply.space()) {
        if (space_.size() > limit) space_ = space_.first(limit);
    }

    bool has_room(std::string_view name) const { return used_ + size_of(name) <= space_.size(); }

    void add(std::string_view name, uint64_t ino, uint32_t mode, uint64_t offset, const fuse_entry_out* entry) {
        std::byte* to = space_.data() + used_;
        size_t size = size_of(name);
        std::memset(to, 0, size);
        if (plus_) {
            if (entry != nullptr) std::memcpy(to, entry, sizeof *entry);
            to += sizeof(fuse_entry_out);
        }
        fuse_dirent dirent{};
        dirent.ino = ino;
        dirent.off = offset;
        dirent.namelen = static_cast<uint32_t>(name.size());
        dirent.type = IFTODT(mode);
        std::memcpy(to, &dirent, FUSE_NAME_OFFSET);
        std::memcpy(to + FUSE_NAME_OFFSET, name.data(), name.size());
        used_ += size;
    }

    // Adds a name with what it leads to; the look-up counts only once there is room for it.
    Result<void> add_file(std::string_view name, const File& file, const HostStat* known, uint64_t offset) {
        // Under a trace the kernel learns the names alone: whoever wants to know more of a file has to look it up.
        if (!plus_ || op_.root.is_traced()) {
            add(name, file.ino(), file.type(), offset, nullptr);
            return {};
        }
        fuse_entry_out entry = TRY(make_entry(op_.root, file, known));
        add(name, entry.attr.ino, entry.attr.mode, offset, &entry);
        return {};
    }

    bool empty() const { return used_ == 0; }
    void finish() { op_.reply.grow(used_); }

private:
    size_t size_of(std::string_view name) const {
        size_t size = FUSE_NAME_OFFSET + name.size() + (plus_ ? sizeof(fuse_entry_out) : 0);
        return (size + 7) & ~size_t{7};
    }

    Operation& op_;
    bool plus_;
    std::span<std::byte> space_;
    size_t used_ = 0;
};

uint64_t parent_ino(Root& root, const File& file) {
    if (file.nodeid() == kRootNodeid) return 1;
    if (file.is_private()) return file.node->parent != 0 ? root.nodes().at(file.node->parent)->ino : file.ino();
    return uint64_t{file.tree.parent} + 1;
}

// false: the reply is full.
Result<bool> list_tree(Operation& op, Folder& folder, uint64_t& offset, Listing& listing) {
    for (uint64_t position = offset - (kFirstTreeOffset - 1); position < folder.tree.data_b; position++) {
        auto at = static_cast<uint32_t>(position);
        TreeEntry entry = TRY(op.root.tree().entry(folder.tree, at));
        if (!listing.has_room(entry.name)) return false;
        offset = kFirstTreeOffset + position;
        if (folder.dir && folder.dir->overridden[at]) {
            std::string name(entry.name);
            auto found = op.root.find_child(folder, name);
            if (!found.ok()) {
                if (found.error_code() == ENOENT) continue;  // a whiteout
                return found.error();
            }
            TRY(listing.add_file(entry.name, found.value().file, found.value().entry ? &found.value().stat : nullptr, offset));
            continue;
        }
        Child child = TRY(op.root.tree_child(folder, at));
        TRY(listing.add_file(entry.name, child.file, nullptr, offset));
    }
    return true;
}

Result<void> list_private(Operation& op, Folder& folder, uint64_t offset, Listing& listing) {
    DirHandle& handle = *folder.dir;
    uint64_t host = (offset & kPrivate) != 0 ? to_host(offset) : 0;
    alignas(8) char buffer[32768];
    for (;;) {
        // btrfs shows entries that came after the descriptor was opened only once it is set to the start.
        if (handle.read_offset != host || host == 0) TRY(checked(::lseek(handle.fd.get(), static_cast<off_t>(host), SEEK_SET)));
        // Until the buffer is used up the descriptor stands elsewhere than the last entry that was answered.
        handle.read_offset = ~0ULL;
        long size = ::syscall(SYS_getdents64, handle.fd.get(), buffer, sizeof buffer);
        if (size < 0) return Errno::last();
        if (size == 0) {
            handle.read_offset = host;
            return {};
        }
        for (long at = 0; at < size;) {
            const auto* entry = reinterpret_cast<const dirent64*>(buffer + at);
            std::string_view name = entry->d_name;
            at += entry->d_reclen;
            if (name != "." && name != ".." && !(folder.origin && op.root.tree().find(folder.tree, name).ok())) {
                if (!listing.has_room(name)) return {};
                auto found = op.root.find_child(folder, name);
                if (found.ok()) {
                    const auto next = to_offset(static_cast<uint64_t>(entry->d_off));
                    TRY(listing.add_file(name, found.value().file, &found.value().stat, next));
                } else if (found.error_code() != ENOENT) {
                    return found.error();
                }
            }
            host = static_cast<uint64_t>(entry->d_off);
        }
        handle.read_offset = host;
    }
}

Result<void> list(Operation& op, bool plus) {
    auto in = TRY(op.arguments().take<fuse_read_in>());
    File file = TRY(op.root.file(op.node()));
    Folder folder = TRY(op.root.folder_of(file));
    op.root.trace_list(folder);
    Listing listing(op, in.size, plus);
    uint64_t offset = in.offset;
    auto result = [&]() -> Result<void> {
        if ((offset & kPrivate) == 0) {
            if (offset < kDot) {
                if (!listing.has_room(".")) return {};
                listing.add(".", file.ino(), S_IFDIR, offset = kDot, nullptr);
            }
            if (offset < kDotDot) {
                if (!listing.has_room("..")) return {};
                listing.add("..", parent_ino(op.root, file), S_IFDIR, offset = kDotDot, nullptr);
            }
            if (folder.origin) {
                TRY(op.root.scan(folder));
                if (!TRY(list_tree(op, folder, offset, listing))) return {};
            }
        }
        if (folder.dir) return list_private(op, folder, offset, listing);
        return {};
    }();
    // What was listed before an error is answered first; the next request meets the error again.
    if (!result.ok() && listing.empty()) return result;
    listing.finish();
    return {};
}

}  // namespace

Result<void> op_readdir(Operation& op) { return list(op, false); }
Result<void> op_readdirplus(Operation& op) { return list(op, true); }

}  // namespace templatefs
