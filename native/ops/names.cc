#include <fcntl.h>
#include <unistd.h>

#include <climits>

#include "ops/entry_reply.h"
#include "ops/operation.h"

namespace templatefs {
namespace {

Root::NewEntry new_entry(const Operation& op, uint32_t mode, uint32_t umask) {
    Root::NewEntry entry{};
    entry.mode = mode;
    entry.umask = umask & 0777;
    entry.uid = op.request.header.uid;
    entry.gid = op.request.header.gid;
    return entry;
}

// The answer to a request that made `name`, when a worker that died before it could answer had made it.
Result<void> put_made(Operation& op, Folder& folder, std::string_view name) {
    Child made = TRY(op.root.child(folder, name));
    return put_entry(op.root, op.reply, made.file, &made.stat);
}

Result<void> put_new(Operation& op, Folder& folder, std::string_view name, const Root::NewEntry& entry) {
    if (op.root.state().already_done()) return put_made(op, folder, name);
    return put_entry(op.root, op.reply, TRY(op.root.make(folder, name, entry)));
}

Result<void> rename(Operation& op, uint64_t new_parent, unsigned flags) {
    std::string_view old_name = TRY(op.arguments().take_name());
    std::string_view new_name = TRY(op.arguments().take_name());
    if ((flags & RENAME_WHITEOUT) != 0 && !op.root.can_make_zero_devices()) return Errno(EINVAL);
    Folder from = TRY(op.root.private_folder(op.node()));
    Folder to = TRY(op.root.private_folder(new_parent));
    const uint32_t known = flags & ~uint32_t{RENAME_WHITEOUT};
    if ((flags & RENAME_WHITEOUT) == 0) {
        if (!op.root.state().already_done()) TRY(op.root.rename(from, old_name, to, new_name, known));
    } else if (!op.root.state().already_done()) {
        // The caller wants a whiteout of its own (it may run an overlayfs on us): for us that is an ordinary device. It is
        // made first: where there is no room for it, nothing may be renamed.
        File whiteout = TRY(op.root.make_unnamed(from, new_entry(op, S_IFCHR, 0)));
        auto renamed = op.root.rename(from, old_name, to, new_name, known);
        if (renamed.ok()) renamed = op.root.link(whiteout, from, old_name);
        op.root.remove_unused(*whiteout.node);
        TRY(std::move(renamed));
    } else if (auto left = op.root.child(from, old_name); !left.ok() && left.error_code() == ENOENT) {
        (void)TRY(op.root.make(from, old_name, new_entry(op, S_IFCHR, 0)));
    }
    op.reply.done();
    return {};
}

}  // namespace

Result<void> op_lookup(Operation& op) {
    std::string_view name = TRY(op.arguments().take_name());
    Folder folder = TRY(op.root.folder(op.node()));
    auto found = op.root.child(folder, name);
    if (!found.ok()) {
        if (found.error_code() != ENOENT) return found.error();
        fuse_entry_out nothing{};
        nothing.entry_valid = kForever;
        op.reply.put(nothing);
        return {};
    }
    const Child& child = found.value();
    return put_entry(op.root, op.reply, child.file, child.entry ? &child.stat : nullptr);
}

Result<void> op_mknod(Operation& op) {
    auto in = TRY(op.arguments().take<fuse_mknod_in>());
    std::string_view name = TRY(op.arguments().take_name());
    Folder folder = TRY(op.root.private_folder(op.node()));
    Root::NewEntry entry = new_entry(op, in.mode, in.umask);
    if ((entry.mode & S_IFMT) == 0) entry.mode |= S_IFREG;
    if (S_ISDIR(entry.mode) || S_ISLNK(entry.mode)) return Errno(EINVAL);
    entry.rdev = in.rdev;
    return put_new(op, folder, name, entry);
}

Result<void> op_mkdir(Operation& op) {
    auto in = TRY(op.arguments().take<fuse_mkdir_in>());
    std::string_view name = TRY(op.arguments().take_name());
    Folder folder = TRY(op.root.private_folder(op.node()));
    return put_new(op, folder, name, new_entry(op, (in.mode & 07777) | S_IFDIR, in.umask));
}

Result<void> op_symlink(Operation& op) {
    std::string_view name = TRY(op.arguments().take_name());
    std::string_view target = TRY(op.arguments().take_string());
    if (target.empty()) return Errno(ENOENT);
    if (target.size() >= PATH_MAX) return Errno(ENAMETOOLONG);
    Folder folder = TRY(op.root.private_folder(op.node()));
    Root::NewEntry entry = new_entry(op, S_IFLNK | 0777, 0);
    entry.target = target;
    return put_new(op, folder, name, entry);
}

Result<void> op_unlink(Operation& op) {
    std::string_view name = TRY(op.arguments().take_name());
    TRY(op.root.delete_exempt([&]() -> Result<void> {
        Folder folder = TRY(op.root.private_folder(op.node()));
        if (!op.root.state().already_done()) TRY(op.root.unlink(folder, name));
        return {};
    }));
    op.reply.done();
    return {};
}

Result<void> op_rmdir(Operation& op) {
    std::string_view name = TRY(op.arguments().take_name());
    TRY(op.root.delete_exempt([&]() -> Result<void> {
        Folder folder = TRY(op.root.private_folder(op.node()));
        if (!op.root.state().already_done()) TRY(op.root.rmdir(folder, name));
        return {};
    }));
    op.reply.done();
    return {};
}

Result<void> op_rename(Operation& op) {
    auto in = TRY(op.arguments().take<fuse_rename_in>());
    return rename(op, in.newdir, 0);
}

Result<void> op_rename2(Operation& op) {
    auto in = TRY(op.arguments().take<fuse_rename2_in>());
    constexpr uint32_t kKnown = RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT;
    if ((in.flags & ~kKnown) != 0) return Errno(EINVAL);
    if ((in.flags & RENAME_EXCHANGE) != 0 && in.flags != RENAME_EXCHANGE) return Errno(EINVAL);
    return rename(op, in.newdir, in.flags);
}

Result<void> op_link(Operation& op) {
    auto in = TRY(op.arguments().take<fuse_link_in>());
    std::string_view name = TRY(op.arguments().take_name());
    Folder folder = TRY(op.root.private_folder(op.node()));
    File file = TRY(op.root.file(in.oldnodeid));
    if (!op.root.state().already_done()) TRY(op.root.link(file, folder, name));
    return put_entry(op.root, op.reply, file);
}

Result<void> op_readlink(Operation& op) {
    File file = TRY(op.root.file(op.node()));
    if (!S_ISLNK(file.type())) return Errno(EINVAL);
    if (!file.is_private()) {
        std::string_view target = TRY(op.root.tree().symlink_target(file.tree));
        op.reply.put_bytes(target.data(), target.size());
        return {};
    }
    PinnedPlace place = TRY(op.root.place(*file.node));
    char target[PATH_MAX];
    Place at = place;
    ssize_t size = ::readlinkat(at.folder, at.name, target, sizeof target);
    if (size < 0) return Errno::last();
    op.reply.put_bytes(target, static_cast<size_t>(size));
    return {};
}

Result<void> op_forget(Operation& op) {
    auto in = TRY(op.arguments().take<fuse_forget_in>());
    op.root.forget(op.node(), in.nlookup);
    return {};
}

Result<void> op_batch_forget(Operation& op) {
    auto in = TRY(op.arguments().take<fuse_batch_forget_in>());
    for (uint32_t i = 0; i < in.count; i++) {
        auto one = TRY(op.arguments().take<fuse_forget_one>());
        op.root.forget(one.nodeid, one.nlookup);
    }
    return {};
}

}  // namespace templatefs
