#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "ops/entry_reply.h"
#include "ops/operation.h"

namespace templatefs {
namespace {

timespec time_to_set(uint32_t valid, uint32_t set, uint32_t now, uint64_t seconds, uint32_t nanoseconds) {
    if ((valid & set) == 0) return {0, UTIME_OMIT};
    if ((valid & now) != 0) return {0, UTIME_NOW};
    return {static_cast<time_t>(seconds), static_cast<long>(nanoseconds)};
}

// A file without names that nobody has open lives on only as its attributes.
Result<void> set_buried(const fuse_setattr_in& in, Tombstone& tombstone) {
    timespec now;
    ::clock_gettime(CLOCK_REALTIME, &now);
    if ((in.valid & FATTR_SIZE) != 0) return Errno(ESTALE);
    if ((in.valid & FATTR_MODE) != 0) tombstone.mode = (tombstone.mode & S_IFMT) | (in.mode & 07777);
    if ((in.valid & FATTR_UID) != 0) tombstone.uid = in.uid;
    if ((in.valid & FATTR_GID) != 0) tombstone.gid = in.gid;
    if ((in.valid & FATTR_ATIME) != 0) {
        bool is_now = (in.valid & FATTR_ATIME_NOW) != 0;
        tombstone.atime = is_now ? now.tv_sec : static_cast<int64_t>(in.atime);
        tombstone.atime_nsec = is_now ? static_cast<uint32_t>(now.tv_nsec) : in.atimensec;
    }
    if ((in.valid & FATTR_MTIME) != 0) {
        bool is_now = (in.valid & FATTR_MTIME_NOW) != 0;
        tombstone.mtime = is_now ? now.tv_sec : static_cast<int64_t>(in.mtime);
        tombstone.mtime_nsec = is_now ? static_cast<uint32_t>(now.tv_nsec) : in.mtimensec;
    }
    tombstone.ctime = now.tv_sec;
    tombstone.ctime_nsec = static_cast<uint32_t>(now.tv_nsec);
    return {};
}

}  // namespace

Result<void> op_getattr(Operation& op) {
    File file = TRY(op.root.file(op.node()));
    return put_attributes(op.root, op.reply, file);
}

Result<void> op_statx(Operation& op) {
    (void)TRY(op.arguments().take<StatxIn>());
    File file = TRY(op.root.file(op.node()));
    StatxOut out{};
    out.attr_valid = attribute_seconds(op.root, file);
    Attributes attributes = TRY(op.root.attributes(file));
    auto time = [](const timespec& t) { return StatxTime{t.tv_sec, static_cast<uint32_t>(t.tv_nsec), 0}; };
    out.stat.mask = STATX_BASIC_STATS | STATX_BTIME;
    out.stat.blksize = 4096;
    out.stat.nlink = attributes.nlink;
    out.stat.uid = attributes.uid;
    out.stat.gid = attributes.gid;
    out.stat.mode = static_cast<uint16_t>(attributes.mode);
    out.stat.ino = attributes.ino;
    out.stat.size = attributes.size;
    out.stat.blocks = attributes.blocks;
    out.stat.atime = time(attributes.atime);
    out.stat.btime = time(attributes.btime);
    out.stat.ctime = time(attributes.ctime);
    out.stat.mtime = time(attributes.mtime);
    out.stat.rdev_major = (attributes.rdev >> 8) & 0xfff;
    out.stat.rdev_minor = (attributes.rdev & 0xff) | ((attributes.rdev >> 12) & 0xfff00);
    op.reply.put(out);
    return {};
}

Result<void> op_setattr(Operation& op) {
    auto in = TRY(op.arguments().take<fuse_setattr_in>());
    File file = TRY(op.root.file(op.node()));
    if (file.node != nullptr) {
        if (Tombstone* tombstone = op.root.nodes().tombstone(*file.node); tombstone != nullptr) {
            TRY(set_buried(in, *tombstone));
            return put_attributes(op.root, op.reply, file);
        }
    }
    const bool resize = (in.valid & FATTR_SIZE) != 0;
    if (resize) {
        if (!S_ISREG(file.type())) return Errno(S_ISDIR(file.type()) ? EISDIR : EINVAL);
        const bool had_own = op.root.has_own_content(file);
        TRY(op.root.own_content(file, in.size == 0));
        if (had_own || in.size > 0) TRY(op.root.resize(file, in.size));
    } else {
        TRY(op.root.materialize(file));
    }
    PinnedPlace place = TRY(op.root.place(*file.node));
    op.root.note_ctime(*file.node);
    // A write by passthrough cannot carry FUSE_WRITE_KILL_SUIDGID; before it the kernel (6.18) sends a SETATTR that sets
    // nothing. So does chown(2) that changes neither owner nor group.
    const bool says_nothing = in.valid == 0;
    // A write by somebody who may keep the bits comes here only if the file had capabilities; the kernel has removed them first.
    const bool may_keep = says_nothing && (file.node->flags & kNodeLostCapability) != 0 && file.node->writers > 0;
    op.root.nodes().drop_flag(*file.node, kNodeLostCapability);
    // Before the group changes: whether the bits may stay depends on the one that the file had.
    if ((says_nothing || (in.valid & FATTR_KILL_SUIDGID) != 0) && !S_ISDIR(file.type()) && !S_ISLNK(file.type()))
        TRY(op.root.clear_set_id(file, op.request.header.pid, says_nothing, may_keep));
    if ((in.valid & (FATTR_UID | FATTR_GID)) != 0) {
        TRY(host_chown(place, (in.valid & FATTR_UID) != 0 ? in.uid : static_cast<uid_t>(-1),
                       (in.valid & FATTR_GID) != 0 ? in.gid : static_cast<gid_t>(-1)));
    }
    if ((in.valid & FATTR_MODE) != 0) TRY(host_chmod(place, in.mode));
    timespec times[2] = {time_to_set(in.valid, FATTR_ATIME, FATTR_ATIME_NOW, in.atime, in.atimensec),
                         time_to_set(in.valid, FATTR_MTIME, FATTR_MTIME_NOW, in.mtime, in.mtimensec)};
    if (times[0].tv_nsec != UTIME_OMIT || times[1].tv_nsec != UTIME_OMIT) TRY(host_utimens(place, times));
    return put_attributes(op.root, op.reply, file);
}

Result<void> op_statfs(Operation& op) {
    struct statvfs host;
    TRY(checked_void(::fstatvfs(op.root.area().base(), &host)));
    fuse_statfs_out out{};
    out.st.blocks = host.f_blocks;
    out.st.bfree = host.f_bfree;
    out.st.bavail = host.f_bavail;
    out.st.files = host.f_files;
    out.st.ffree = host.f_ffree;
    out.st.bsize = static_cast<uint32_t>(host.f_bsize);
    out.st.frsize = static_cast<uint32_t>(host.f_frsize);
    out.st.namelen = 255;
    op.root.limit_statfs(out.st);
    op.reply.put(out);
    return {};
}

}  // namespace templatefs
