#include "ops/entry_reply.h"

namespace templatefs {

fuse_attr to_fuse_attr(const Attributes& attributes) {
    fuse_attr attr{};
    attr.ino = attributes.ino;
    attr.size = attributes.size;
    attr.blocks = attributes.blocks;
    attr.atime = static_cast<uint64_t>(attributes.atime.tv_sec);
    attr.mtime = static_cast<uint64_t>(attributes.mtime.tv_sec);
    attr.ctime = static_cast<uint64_t>(attributes.ctime.tv_sec);
    attr.atimensec = static_cast<uint32_t>(attributes.atime.tv_nsec);
    attr.mtimensec = static_cast<uint32_t>(attributes.mtime.tv_nsec);
    attr.ctimensec = static_cast<uint32_t>(attributes.ctime.tv_nsec);
    attr.mode = attributes.mode;
    attr.nlink = attributes.nlink;
    attr.uid = attributes.uid;
    attr.gid = attributes.gid;
    attr.rdev = attributes.rdev;
    attr.blksize = 4096;
    return attr;
}

uint64_t attribute_seconds(Root& root, const File& file) {
    const bool has_twin = file.node != nullptr && (file.node->flags & kNodeTwin) != 0;
    return has_twin || root.may_change_unseen(file) ? 0 : kForever;
}

Result<fuse_entry_out> make_entry(Root& root, const File& file, const HostStat* known) {
    fuse_entry_out entry{};
    // Asked before the attributes are read: a store in between would otherwise be missed. So `known` is too old, too.
    if (file.node != nullptr && (file.node->flags & kNodeLateStores) != 0) known = nullptr;
    entry.attr_valid = attribute_seconds(root, file);
    entry.attr = to_fuse_attr(TRY(root.attributes(file, known)));
    entry.nodeid = file.nodeid();
    entry.generation = root.header().generation;
    entry.entry_valid = kForever;
    if (file.node != nullptr) root.count_lookup(*file.node);
    return entry;
}

Result<void> put_entry(Root& root, Reply& reply, const File& file, const HostStat* known) {
    reply.put(TRY(make_entry(root, file, known)));
    return {};
}

Result<void> put_attributes(Root& root, Reply& reply, const File& file) {
    fuse_attr_out out{};
    out.attr_valid = attribute_seconds(root, file);
    out.attr = to_fuse_attr(TRY(root.attributes(file)));
    reply.put(out);
    return {};
}

}  // namespace templatefs
