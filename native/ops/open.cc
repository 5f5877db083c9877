#include <fcntl.h>
#include <unistd.h>

#include "ops/entry_reply.h"
#include "ops/operation.h"

namespace templatefs {
namespace {

bool opens_for_writing(uint32_t flags) { return (flags & O_ACCMODE) != O_RDONLY; }

// How long attributes of a new file hold that is open for writing.
constexpr uint32_t kJustMadeNs = 10'000'000;

// Notes the open and decides how its data moves: by passthrough to the object or the private file, or through READ and
// WRITE. All opens of one nodeid go the same way while any of them lives.
Result<OpenOut> open_file(Root& root, File& file, uint32_t flags, bool is_new = false) {
    const bool writable = opens_for_writing(flags);
    Node& node = *TRY(root.node_of(file));
    if ((node.flags & kNodeBroken) != 0) return Errno(EIO);
    OpenOut out{};
    bool cached = (node.flags & kNodeCached) != 0;
    if (node.opens == 0) {
        cached = root.header().passthrough == 0 || root.is_partial(file);
        // With a limit in bytes that the engine keeps, no write to a private file may pass it by.
        if (!cached && root.has_own_content(file)) cached = root.usage().counts_bytes();
        if (!cached && !root.has_own_content(file)) {
            // Programs may change files of other paths in place while somebody has them open: those opens have to see it.
            cached = file.tree.data_a == kNoObject && !file.is_private();
            if (!cached) cached = !TRY(root.is_shared_path(file));
        }
    }
    if (!cached) {
        auto id = root.backing(file);
        if (id.ok()) {
            out.open_flags = FOPEN_PASSTHROUGH;
            out.backing_id = id.value();
        } else if (node.opens > 0) {
            return id.error();
        } else if (id.error_code() == EIO || id.error_code() == ENOENT) {
            return id.error();
        } else {
            cached = true;
        }
    }
    if (cached) {
        root.nodes().add_flag(node, kNodeCached);
        // Pages that the kernel has are good if nobody could change the content around them.
        const UsageState& usage = root.usage().state();
        const bool always_here = root.header().passthrough == 0 || ((usage.counting & kCountBytes) != 0 && usage.live == 0);
        if (always_here || !root.has_own_content(file) || root.is_partial(file)) out.open_flags |= FOPEN_KEEP_CACHE;
    }
    if (writable && node.writers == 0 && !is_new) root.forget_attributes(file.nodeid());
    root.opened(node, writable);
    out.fh = root.header().next_fh + 1;
    root.nodes().set(root.header().next_fh, out.fh);
    return out;
}

// `take_back` removes the file if it cannot be opened: a create that fails has made nothing.
template <class TakeBack>
Result<void> answer_created(Operation& op, File& file, uint32_t flags, TakeBack&& take_back) {
    auto opened = open_file(op.root, file, flags, true);
    auto entry = opened.ok() ? make_entry(op.root, file) : Result<fuse_entry_out>(opened.error());
    if (!entry.ok()) {
        if (opened.ok()) op.root.closed(*file.node, opens_for_writing(flags));
        take_back();
        return entry.error();
    }
    // The kernel looks at the mode of what it has just created. Nothing can be stored into an empty file before the kernel itself has
    // made it larger, and asks anew then.
    fuse_entry_out created = entry.take();
    created.attr_valid_nsec = kJustMadeNs;
    op.reply.put(created);
    op.reply.put(opened.take());
    return {};
}

Root::NewEntry regular(const Operation& op, const fuse_create_in& in) {
    Root::NewEntry entry{};
    entry.mode = (in.mode & 07777) | S_IFREG;
    entry.umask = in.umask & 0777;
    entry.uid = op.request.header.uid;
    entry.gid = op.request.header.gid;
    return entry;
}

}  // namespace

Result<void> op_open(Operation& op) {
    auto in = TRY(op.arguments().take<fuse_open_in>());
    File file = TRY(op.root.file(op.node()));
    if (!S_ISREG(file.type())) return Errno(EINVAL);
    const bool truncate = (in.flags & O_TRUNC) != 0;
    if (file.node != nullptr && op.root.nodes().tombstone(*file.node) != nullptr) return Errno(ESTALE);
    if (file.node != nullptr && file.nodeid() != op.node()) {
        // Copied up under a new nodeid since the kernel looked it up: it has to look again.
        return Errno(ESTALE);
    }
    if (truncate || opens_for_writing(in.flags)) {
        const bool had_own = op.root.has_own_content(file);
        TRY(op.root.own_content(file, truncate));
        if (truncate) {
            if (had_own) TRY(op.root.resize(file, 0));
            if ((in.open_flags & FUSE_OPEN_KILL_SUIDGID) != 0) TRY(op.root.clear_set_id(file, op.request.header.pid));
        }
    }
    op.reply.put(TRY(open_file(op.root, file, in.flags)));
    return {};
}

Result<void> op_create(Operation& op) {
    auto in = TRY(op.arguments().take<fuse_create_in>());
    std::string_view name = TRY(op.arguments().take_name());
    Folder folder = TRY(op.root.private_folder(op.node()));
    File file;
    if (op.root.state().already_done()) file = TRY(op.root.child(folder, name)).file;
    else file = TRY(op.root.make(folder, name, regular(op, in)));
    return answer_created(op, file, in.flags, [&] { (void)op.root.unlink(folder, name).ok(); });
}

Result<void> op_tmpfile(Operation& op) {
    auto in = TRY(op.arguments().take<fuse_create_in>());
    Folder folder = TRY(op.root.private_folder(op.node()));
    File file = TRY(op.root.make_unnamed(folder, regular(op, in)));
    return answer_created(op, file, in.flags, [&] { op.root.remove_unused(*file.node); });
}

Result<void> op_release(Operation& op) {
    auto in = TRY(op.arguments().take<fuse_release_in>());
    // The open belongs to the nodeid that it was made with, also if the file has another one by now.
    Node* node = op.root.nodes().find(op.node());
    if (node != nullptr) {
        bool writable = opens_for_writing(in.flags);
        // Before it is closed: that may be the end of the Node.
        if ((in.flags & O_ACCMODE) == O_RDWR) op.root.note_writable_close(*node);
        op.root.closed(*node, writable);
    }
    op.reply.done();
    return {};
}

}  // namespace templatefs
