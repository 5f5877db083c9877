#include <climits>
#include <optional>
#include <vector>

#include "inode/caller.h"
#include "ops/operation.h"

namespace templatefs {
namespace {

// How XFS shows ACLs a second time. Set in this form they would change behind the back of the kernel's cache.
bool is_acl_of_xfs(std::string_view name) { return name == "trusted.SGI_ACL_FILE" || name == "trusted.SGI_ACL_DEFAULT"; }

// Our own xattrs do not exist for the container; nor does what only some file systems of a store have.
bool is_hidden(std::string_view name) { return name.starts_with(kOwnXattrPrefix) || is_acl_of_xfs(name); }

bool has_tree_xattrs(const File& file) {
    return !file.is_private() || (file.node->flags & kNodePristine) != 0;
}

Result<TreeNode> tree_side(Operation& op, const File& file) {
    if (file.is_private()) return op.root.tree().node(file.node->origin);
    return file.tree;
}

Result<void> answer(Operation& op, uint32_t limit, const void* value, size_t size) {
    if (limit == 0) {
        fuse_getxattr_out out{};
        out.size = static_cast<uint32_t>(size);
        op.reply.put(out);
        return {};
    }
    if (size > limit) return Errno(ERANGE);
    op.reply.put_bytes(value, size);
    return {};
}

bool is_acl(std::string_view name) { return name == "system.posix_acl_access" || name == "system.posix_acl_default"; }

// What a host file says of a name that it does not have: not every name could be one.
Errno missing(std::string_view name) {
    for (std::string_view prefix : {"user.", "trusted.", "security."}) {
        if (name.starts_with(prefix)) return Errno(name == prefix ? EINVAL : ENODATA);
    }
    return Errno(is_acl(name) ? ENODATA : EOPNOTSUPP);
}

Result<XattrView> tree_xattr(Operation& op, const TreeNode& node, std::string_view name) {
    auto xattr = op.root.tree().xattr(node, name);
    if (!xattr.ok() && xattr.error_code() == ENODATA) return missing(name);
    return xattr;
}

// An ACL that is not there can be removed: the mode is all that counts then, as before.
Result<void> removed_nothing(Operation& op, std::string_view name, Errno error) {
    if (error.value != ENODATA || !is_acl(name)) return error;
    op.reply.done();
    return {};
}

// A file without names keeps no xattrs.
bool is_buried(Operation& op, const File& file) {
    return file.node != nullptr && op.root.nodes().tombstone(*file.node) != nullptr;
}

}  // namespace

Result<void> op_getxattr(Operation& op) {
    auto in = TRY(op.arguments().take<fuse_getxattr_in>());
    std::string_view name = TRY(op.arguments().take_string());
    if (is_hidden(name)) return Errno(ENODATA);
    File file = TRY(op.root.file(op.node()));
    if (is_buried(op, file)) return missing(name);
    if (has_tree_xattrs(file)) {
        TreeNode node = TRY(tree_side(op, file));
        XattrView xattr = TRY(tree_xattr(op, node, name));
        return answer(op, in.size, xattr.value.data(), xattr.value.size());
    }
    PinnedPlace place = TRY(op.root.place(*file.node));
    auto space = op.reply.space();
    if (in.size == 0) {
        size_t size = TRY(host_getxattr(place, name.data(), {}));
        return answer(op, 0, nullptr, size);
    }
    size_t size = TRY(host_getxattr(place, name.data(), space.first(std::min<size_t>(in.size, space.size()))));
    op.reply.grow(size);
    return {};
}

Result<void> op_setxattr(Operation& op) {
    auto in = TRY(op.arguments().take<fuse_setxattr_in>());
    std::string_view name = TRY(op.arguments().take_string());
    auto value = TRY(op.arguments().take_bytes(in.size));
    if (is_hidden(name)) return Errno(is_acl_of_xfs(name) ? EOPNOTSUPP : EPERM);
    File file = TRY(op.root.file(op.node()));
    if (is_buried(op, file)) return Errno(ESTALE);
    TRY(op.root.materialize(file));
    if (!op.root.state().already_done()) TRY(op.root.set_xattr(*file.node, name, value, static_cast<int>(in.flags)));
    PinnedPlace place = TRY(op.root.place(*file.node));
    // The kernel says so of default ACLs, too, which leave the mode alone.
    if ((in.setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID) != 0 && name == "system.posix_acl_access") {
        uint32_t mode = TRY(host_stat(place)).stx_mode;
        if ((mode & S_ISGID) != 0) TRY(host_chmod(place, mode & ~uint32_t{S_ISGID}));
    }
    op.root.note_acl_change(*file.node);
    op.reply.done();
    return {};
}

Result<void> op_listxattr(Operation& op) {
    auto in = TRY(op.arguments().take<fuse_getxattr_in>());
    File file = TRY(op.root.file(op.node()));
    if (is_buried(op, file)) return answer(op, in.size, nullptr, 0);
    std::vector<char> list;
    std::optional<bool> sees_trusted;
    auto add = [&](std::string_view name) {
        if (is_hidden(name)) return;
        if (name.starts_with("trusted.")) {
            if (!sees_trusted) {
                auto caller = Caller::read(op.request.header.pid);
                sees_trusted = !caller || caller->may_see_trusted();
            }
            if (!*sees_trusted) return;
        }
        list.insert(list.end(), name.begin(), name.end());
        list.push_back(0);
    };
    if (has_tree_xattrs(file)) {
        TreeNode node = TRY(tree_side(op, file));
        TRY(op.root.tree().for_each_xattr(node, [&](XattrView xattr) {
            add(xattr.name);
            return true;
        }));
        return answer(op, in.size, list.data(), list.size());
    }
    PinnedPlace place = TRY(op.root.place(*file.node));
    std::vector<char> all(XATTR_LIST_MAX);
    size_t size = TRY(host_listxattr(place, all));
    for (size_t at = 0; at < size;) {
        std::string_view name(all.data() + at);
        at += name.size() + 1;
        add(name);
    }
    return answer(op, in.size, list.data(), list.size());
}

Result<void> op_removexattr(Operation& op) {
    std::string_view name = TRY(op.arguments().take_string());
    if (is_hidden(name)) return Errno(ENODATA);
    File file = TRY(op.root.file(op.node()));
    if (is_buried(op, file)) return missing(name);
    if (op.root.state().already_done()) {
        op.reply.done();
        return {};
    }
    if (has_tree_xattrs(file)) {
        // Nothing to remove: no reason to make it private.
        TreeNode node = TRY(tree_side(op, file));
        if (auto present = tree_xattr(op, node, name); !present.ok()) return removed_nothing(op, name, present.error());
    }
    TRY(op.root.materialize(file));
    if (auto removed = op.root.remove_xattr(*file.node, name); !removed.ok()) return removed_nothing(op, name, removed.error());
    if (name == kCapability) op.root.nodes().add_flag(*file.node, kNodeLostCapability);
    op.root.note_acl_change(*file.node);
    op.reply.done();
    return {};
}

}  // namespace templatefs
