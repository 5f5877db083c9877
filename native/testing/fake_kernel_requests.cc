// Each request that a kernel may send, as one call of FakeKernel.

#include <fcntl.h>

#include <cstring>

#include "testing/fake_kernel.h"

namespace templatefs::testing {
namespace {

constexpr uint32_t kAttrMode = 1u << 0, kAttrUid = 1u << 1, kAttrGid = 1u << 2, kAttrSize = 1u << 3,
                   kAttrAtime = 1u << 4, kAttrMtime = 1u << 5, kAttrFh = 1u << 6;
// What the kernel adds for a truncate(2) by a caller whose HANDLE_KILLPRIV_V2 asks for it is left to the test.

}  // namespace

uint64_t FakeKernel::init(uint64_t offered) {
    // What Linux 6.18 offers: everything but DAX, io_uring and the flags that only answers use.
    constexpr uint64_t known = FUSE_ASYNC_READ | FUSE_POSIX_LOCKS | FUSE_ATOMIC_O_TRUNC | FUSE_EXPORT_SUPPORT |
                               FUSE_BIG_WRITES | FUSE_DONT_MASK | FUSE_SPLICE_WRITE | FUSE_SPLICE_MOVE |
                               FUSE_SPLICE_READ | FUSE_FLOCK_LOCKS | FUSE_HAS_IOCTL_DIR | FUSE_AUTO_INVAL_DATA |
                               FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO | FUSE_ASYNC_DIO | FUSE_WRITEBACK_CACHE |
                               FUSE_NO_OPEN_SUPPORT | FUSE_PARALLEL_DIROPS | FUSE_HANDLE_KILLPRIV | FUSE_POSIX_ACL |
                               FUSE_ABORT_ERROR | FUSE_MAX_PAGES | FUSE_CACHE_SYMLINKS | FUSE_NO_OPENDIR_SUPPORT |
                               FUSE_EXPLICIT_INVAL_DATA | FUSE_HANDLE_KILLPRIV_V2 | FUSE_SETXATTR_EXT |
                               FUSE_INIT_EXT | FUSE_SECURITY_CTX | FUSE_HAS_EXPIRE_ONLY |
                               FUSE_DIRECT_IO_ALLOW_MMAP | FUSE_PASSTHROUGH | FUSE_NO_EXPORT_SUPPORT |
                               FUSE_HAS_RESEND | FUSE_ALLOW_IDMAP;
    uint64_t flags = offered & known;
    fuse_init_in in{};
    in.major = 7;
    in.minor = 45;
    in.max_readahead = 128 * 1024;
    in.flags = static_cast<uint32_t>(flags);
    in.flags2 = static_cast<uint32_t>(flags >> 32);
    Bytes arguments;
    append(arguments, in);
    Answer answer = call(FUSE_INIT, 0, arguments);
    if (!answer.ok()) return 0;
    init_out_ = take<InitOut>(answer);
    agreed_ = init_out_.flags;
    if ((agreed_ & FUSE_INIT_EXT) != 0) agreed_ |= static_cast<uint64_t>(init_out_.flags2) << 32;
    if ((agreed_ & ~flags) != 0) fault("INIT agrees to what was not offered");
    if (init_out_.major != 7 || init_out_.minor > 45) fault("INIT answers with another protocol");
    if (init_out_.max_write < 4096) fault("INIT answers max_write below 4096");
    return agreed_;
}

void FakeKernel::learn(const fuse_entry_out& entry) {
    if (entry.nodeid != 0) lookups_[entry.nodeid] += 1;
    if (entry.nodeid == 1 && entry.attr.ino != 1) fault("the root's nodeid for another file");
    if (entry.nodeid != 0 && (entry.attr.mode & S_IFMT) == 0) fault("an entry without a type");
}

EntryAnswer FakeKernel::entry_answer(const Answer& answer) {
    EntryAnswer out{answer.error, take<fuse_entry_out>(answer)};
    if (!answer.ok()) return out;
    if (answer.body.size() != sizeof(fuse_entry_out)) fault("an entry of " + std::to_string(answer.body.size()) + " bytes");
    learn(out.entry);
    return out;
}

CreateAnswer FakeKernel::create_answer(const Answer& answer) {
    CreateAnswer out{answer.error, take<fuse_entry_out>(answer), {}};
    if (!answer.ok()) {
        out.open.error = answer.error;
        return out;
    }
    if (answer.body.size() != sizeof(fuse_entry_out) + sizeof(OpenOut)) fault("a CREATE answer of wrong size");
    auto opened = take<OpenOut>(answer, sizeof(fuse_entry_out));
    out.open = {0, opened.fh, opened.open_flags, opened.backing_id};
    if (out.entry.nodeid == 0) fault("a CREATE without a nodeid");
    learn(out.entry);
    return out;
}

AttrAnswer FakeKernel::attr_answer(const Answer& answer) {
    AttrAnswer out{answer.error, {}, take<fuse_attr_out>(answer)};
    out.attr = out.whole.attr;
    if (answer.ok() && answer.body.size() != sizeof(fuse_attr_out)) fault("an attribute answer of wrong size");
    if (answer.ok() && (out.attr.mode & S_IFMT) == 0) fault("attributes without a type");
    return out;
}

EntryAnswer FakeKernel::lookup(uint64_t parent, std::string_view name) {
    Bytes arguments;
    append_name(arguments, name);
    EntryAnswer out = entry_answer(call(FUSE_LOOKUP, parent, arguments));
    // A negative entry, which the kernel may keep: there is no such name.
    if (out.error == 0 && out.entry.nodeid == 0) out.error = ENOENT;
    return out;
}

AttrAnswer FakeKernel::getattr(uint64_t nodeid, std::optional<uint64_t> fh) {
    fuse_getattr_in in{};
    if (fh) {
        in.getattr_flags = FUSE_GETATTR_FH;
        in.fh = *fh;
    }
    Bytes arguments;
    append(arguments, in);
    return attr_answer(call(FUSE_GETATTR, nodeid, arguments));
}

AttrAnswer FakeKernel::setattr(uint64_t nodeid, const fuse_setattr_in& change) {
    Bytes arguments;
    append(arguments, change);
    return attr_answer(call(FUSE_SETATTR, nodeid, arguments));
}

AttrAnswer FakeKernel::chmod(uint64_t nodeid, uint32_t mode) {
    fuse_setattr_in in{};
    in.valid = kAttrMode;
    in.mode = mode;
    return setattr(nodeid, in);
}

AttrAnswer FakeKernel::chown(uint64_t nodeid, uint32_t uid, uint32_t gid) {
    fuse_setattr_in in{};
    in.valid = kAttrUid | kAttrGid;
    in.uid = uid;
    in.gid = gid;
    return setattr(nodeid, in);
}

AttrAnswer FakeKernel::truncate(uint64_t nodeid, uint64_t size, std::optional<uint64_t> fh) {
    fuse_setattr_in in{};
    in.valid = kAttrSize | (fh ? kAttrFh : 0);
    in.size = size;
    in.fh = fh.value_or(0);
    return setattr(nodeid, in);
}

AttrAnswer FakeKernel::utimes(uint64_t nodeid, int64_t atime, int64_t mtime) {
    fuse_setattr_in in{};
    in.valid = kAttrAtime | kAttrMtime;
    in.atime = static_cast<uint64_t>(atime);
    in.mtime = static_cast<uint64_t>(mtime);
    return setattr(nodeid, in);
}

TextAnswer FakeKernel::readlink(uint64_t nodeid) {
    Answer answer = call(FUSE_READLINK, nodeid);
    return {answer.error, std::string(reinterpret_cast<const char*>(answer.body.data()), answer.body.size())};
}

EntryAnswer FakeKernel::symlink(uint64_t parent, std::string_view name, std::string_view target) {
    Bytes arguments;
    append_name(arguments, name);
    append_name(arguments, target);
    return entry_answer(call(FUSE_SYMLINK, parent, arguments));
}

EntryAnswer FakeKernel::mknod(uint64_t parent, std::string_view name, uint32_t mode, uint32_t rdev, uint32_t umask) {
    fuse_mknod_in in{};
    in.mode = mode;
    in.rdev = rdev;
    in.umask = umask;
    Bytes arguments;
    append(arguments, in);
    append_name(arguments, name);
    return entry_answer(call(FUSE_MKNOD, parent, arguments));
}

EntryAnswer FakeKernel::mkdir(uint64_t parent, std::string_view name, uint32_t mode, uint32_t umask) {
    Bytes arguments;
    append(arguments, fuse_mkdir_in{mode, umask});
    append_name(arguments, name);
    return entry_answer(call(FUSE_MKDIR, parent, arguments));
}

int FakeKernel::unlink(uint64_t parent, std::string_view name) {
    Bytes arguments;
    append_name(arguments, name);
    return call(FUSE_UNLINK, parent, arguments).error;
}

int FakeKernel::rmdir(uint64_t parent, std::string_view name) {
    Bytes arguments;
    append_name(arguments, name);
    return call(FUSE_RMDIR, parent, arguments).error;
}

int FakeKernel::rename(uint64_t from, std::string_view old_name, uint64_t to, std::string_view new_name, uint32_t flags) {
    Bytes arguments;
    if (flags == 0) append(arguments, fuse_rename_in{to});
    else append(arguments, fuse_rename2_in{to, flags, 0});
    append_name(arguments, old_name);
    append_name(arguments, new_name);
    return call(flags == 0 ? FUSE_RENAME : FUSE_RENAME2, from, arguments).error;
}

EntryAnswer FakeKernel::link(uint64_t nodeid, uint64_t parent, std::string_view name) {
    Bytes arguments;
    append(arguments, fuse_link_in{nodeid});
    append_name(arguments, name);
    return entry_answer(call(FUSE_LINK, parent, arguments));
}

OpenAnswer FakeKernel::open(uint64_t nodeid, uint32_t flags) {
    Bytes arguments;
    // Without ATOMIC_O_TRUNC the kernel truncates by SETATTR after the open.
    bool truncates_itself = (agreed_ & FUSE_ATOMIC_O_TRUNC) == 0 && (flags & O_TRUNC) != 0;
    uint32_t sent = flags & ~static_cast<uint32_t>(O_CREAT | O_EXCL | O_NOCTTY);
    if (truncates_itself) sent &= ~static_cast<uint32_t>(O_TRUNC);
    append(arguments, fuse_open_in{sent, 0});
    Answer answer = call(FUSE_OPEN, nodeid, arguments);
    auto out = take<OpenOut>(answer);
    if (answer.ok() && truncates_itself) {
        if (int error = truncate(nodeid, 0).error; error != 0) return {error, 0, 0, 0};
    }
    return {answer.error, out.fh, out.open_flags, out.backing_id};
}

CreateAnswer FakeKernel::create(uint64_t parent, std::string_view name, uint32_t mode, uint32_t flags, uint32_t umask) {
    Bytes arguments;
    append(arguments, fuse_create_in{flags | O_CREAT, mode | S_IFREG, umask, 0});
    append_name(arguments, name);
    return create_answer(call(FUSE_CREATE, parent, arguments));
}

CreateAnswer FakeKernel::tmpfile(uint64_t parent, uint32_t mode, uint32_t flags) {
    Bytes arguments;
    append(arguments, fuse_create_in{flags, mode | S_IFREG, 0, 0});
    append_name(arguments, "/");  // Linux sends the slash of an anonymous dentry
    return create_answer(call(kFuseTmpfile, parent, arguments));
}

TextAnswer FakeKernel::read(uint64_t nodeid, uint64_t fh, uint64_t offset, uint32_t size) {
    fuse_read_in in{};
    in.fh = fh;
    in.offset = offset;
    in.size = size;
    Bytes arguments;
    append(arguments, in);
    Answer answer = call(FUSE_READ, nodeid, arguments);
    if (answer.body.size() > size) fault("READ answers more than was asked for");
    return {answer.error, std::string(reinterpret_cast<const char*>(answer.body.data()), answer.body.size())};
}

SizeAnswer FakeKernel::write(uint64_t nodeid, uint64_t fh, uint64_t offset, std::string_view data) {
    fuse_write_in in{};
    in.fh = fh;
    in.offset = offset;
    in.size = static_cast<uint32_t>(data.size());
    Bytes arguments;
    append(arguments, in);
    auto bytes = std::as_bytes(std::span(data));
    arguments.insert(arguments.end(), bytes.begin(), bytes.end());
    Answer answer = call(FUSE_WRITE, nodeid, arguments);
    auto out = take<fuse_write_out>(answer);
    if (out.size > data.size()) fault("WRITE answers more than was sent");
    return {answer.error, out.size};
}

int FakeKernel::release(uint64_t nodeid, uint64_t fh, uint32_t flags) {
    fuse_release_in in{};
    in.fh = fh;
    in.flags = flags;
    Bytes arguments;
    append(arguments, in);
    return call(FUSE_RELEASE, nodeid, arguments).error;
}

int FakeKernel::flush(uint64_t nodeid, uint64_t fh) {
    fuse_flush_in in{};
    in.fh = fh;
    Bytes arguments;
    append(arguments, in);
    return call(FUSE_FLUSH, nodeid, arguments).error;
}

int FakeKernel::fsync(uint64_t nodeid, uint64_t fh, bool data_only) {
    Bytes arguments;
    append(arguments, fuse_fsync_in{fh, data_only ? 1u : 0u, 0});
    return call(FUSE_FSYNC, nodeid, arguments).error;
}

int FakeKernel::fsyncdir(uint64_t nodeid) {
    Bytes arguments;
    append(arguments, fuse_fsync_in{0, 0, 0});
    return call(FUSE_FSYNCDIR, nodeid, arguments).error;
}

Answer FakeKernel::statfs(uint64_t nodeid) { return call(FUSE_STATFS, nodeid); }

int FakeKernel::setxattr(uint64_t nodeid, std::string_view name, std::string_view value, uint32_t flags) {
    fuse_setxattr_in in{};
    in.size = static_cast<uint32_t>(value.size());
    in.flags = flags;
    Bytes arguments;
    append(arguments, in);
    // Without SETXATTR_EXT the last two fields are not sent.
    if ((agreed_ & FUSE_SETXATTR_EXT) == 0) arguments.resize(FUSE_COMPAT_SETXATTR_IN_SIZE);
    append_name(arguments, name);
    auto bytes = std::as_bytes(std::span(value));
    arguments.insert(arguments.end(), bytes.begin(), bytes.end());
    return call(FUSE_SETXATTR, nodeid, arguments).error;
}

TextAnswer FakeKernel::getxattr(uint64_t nodeid, std::string_view name, uint32_t size) {
    Bytes arguments;
    append(arguments, fuse_getxattr_in{size, 0});
    append_name(arguments, name);
    Answer answer = call(FUSE_GETXATTR, nodeid, arguments);
    if (answer.body.size() > size) fault("GETXATTR answers more than fits");
    return {answer.error, std::string(reinterpret_cast<const char*>(answer.body.data()), answer.body.size())};
}

SizeAnswer FakeKernel::xattr_size(uint32_t opcode, uint64_t nodeid, std::string_view name) {
    Bytes arguments;
    append(arguments, fuse_getxattr_in{0, 0});
    if (opcode == FUSE_GETXATTR) append_name(arguments, name);
    Answer answer = call(opcode, nodeid, arguments);
    if (answer.ok() && answer.body.size() != sizeof(fuse_getxattr_out)) fault("the size of an xattr is an answer of wrong size");
    return {answer.error, take<fuse_getxattr_out>(answer).size};
}

SizeAnswer FakeKernel::getxattr_size(uint64_t nodeid, std::string_view name) { return xattr_size(FUSE_GETXATTR, nodeid, name); }

SizeAnswer FakeKernel::listxattr_size(uint64_t nodeid) { return xattr_size(FUSE_LISTXATTR, nodeid, {}); }

TextAnswer FakeKernel::listxattr(uint64_t nodeid, uint32_t size) {
    Bytes arguments;
    append(arguments, fuse_getxattr_in{size, 0});
    Answer answer = call(FUSE_LISTXATTR, nodeid, arguments);
    if (answer.body.size() > size) fault("LISTXATTR answers more than fits");
    if (!answer.body.empty() && answer.body.back() != std::byte{0}) fault("LISTXATTR answers a name without NUL");
    return {answer.error, std::string(reinterpret_cast<const char*>(answer.body.data()), answer.body.size())};
}

int FakeKernel::removexattr(uint64_t nodeid, std::string_view name) {
    Bytes arguments;
    append_name(arguments, name);
    return call(FUSE_REMOVEXATTR, nodeid, arguments).error;
}

DirAnswer FakeKernel::readdir_part(uint64_t nodeid, uint64_t offset, uint32_t size, bool plus) {
    fuse_read_in in{};
    in.offset = offset;
    in.size = size;
    Bytes arguments;
    append(arguments, in);
    Answer answer = call(plus ? FUSE_READDIRPLUS : FUSE_READDIR, nodeid, arguments);
    DirAnswer out{answer.error, {}};
    if (answer.body.size() > size) fault("READDIR answers more than was asked for");
    size_t at = 0;
    while (at < answer.body.size()) {
        DirRecord record;
        size_t start = at;
        size_t head = (plus ? sizeof(fuse_entry_out) : 0) + offsetof(fuse_dirent, name);
        if (answer.body.size() - at < head) {
            fault("READDIR answers half a record");
            break;
        }
        if (plus) {
            fuse_entry_out entry;
            std::memcpy(&entry, answer.body.data() + at, sizeof entry);
            at += sizeof entry;
            if (entry.nodeid != 0) record.entry = entry;
        }
        struct {
            uint64_t ino, off;
            uint32_t namelen, type;
        } dirent;
        static_assert(sizeof dirent == offsetof(fuse_dirent, name));
        std::memcpy(&dirent, answer.body.data() + at, sizeof dirent);
        at += sizeof dirent;
        if (dirent.namelen == 0 || dirent.namelen > 255 || answer.body.size() - at < dirent.namelen) {
            fault("READDIR answers a name of " + std::to_string(dirent.namelen) + " bytes");
            break;
        }
        record.name.assign(reinterpret_cast<const char*>(answer.body.data()) + at, dirent.namelen);
        record.ino = dirent.ino;
        record.offset = dirent.off;
        record.type = dirent.type;
        // Linux ends the folder at these.
        if (record.name.find('/') != std::string::npos || record.name.find('\0') != std::string::npos) {
            fault("READDIR answers a bad name");
        }
        if (record.entry) {
            if (record.name == "." || record.name == "..") fault("READDIRPLUS answers a nodeid for " + record.name);
            else learn(*record.entry);
            if (record.entry->attr.ino != record.ino) fault("READDIRPLUS answers two inode numbers for " + record.name);
            if ((record.entry->attr.mode & S_IFMT) >> 12 != record.type) fault("READDIRPLUS answers two types for " + record.name);
        }
        at = start + FUSE_REC_ALIGN(head + dirent.namelen);
        if (at > answer.body.size()) fault("READDIR answers a record without its padding");
        out.records.push_back(std::move(record));
    }
    return out;
}

DirAnswer FakeKernel::readdir(uint64_t nodeid, bool plus, uint32_t size) {
    DirAnswer all;
    uint64_t offset = 0;
    std::set<std::string> seen;
    for (;;) {
        DirAnswer part = readdir_part(nodeid, offset, size, plus);
        if (part.error != 0) {
            all.error = part.error;
            return all;
        }
        if (part.records.empty()) return all;
        offset = part.records.back().offset;
        for (auto& record : part.records) {
            if (!seen.insert(record.name).second) {
                fault("READDIR answers " + record.name + " twice");
                return all;
            }
            all.records.push_back(std::move(record));
        }
    }
}

int FakeKernel::fallocate(uint64_t nodeid, uint64_t fh, uint32_t mode, uint64_t offset, uint64_t length) {
    Bytes arguments;
    append(arguments, fuse_fallocate_in{fh, offset, length, mode, 0});
    return call(FUSE_FALLOCATE, nodeid, arguments).error;
}

SizeAnswer FakeKernel::lseek(uint64_t nodeid, uint64_t fh, uint64_t offset, uint32_t whence) {
    Bytes arguments;
    append(arguments, fuse_lseek_in{fh, offset, whence, 0});
    Answer answer = call(FUSE_LSEEK, nodeid, arguments);
    return {answer.error, take<fuse_lseek_out>(answer).offset};
}

SizeAnswer FakeKernel::copy_file_range(uint64_t nodeid_in, uint64_t fh_in, uint64_t off_in, uint64_t nodeid_out,
                                       uint64_t fh_out, uint64_t off_out, uint64_t length) {
    Bytes arguments;
    append(arguments, fuse_copy_file_range_in{fh_in, off_in, nodeid_out, fh_out, off_out, length, 0});
    Answer answer = call(FUSE_COPY_FILE_RANGE, nodeid_in, arguments);
    return {answer.error, take<fuse_write_out>(answer).size};
}

int FakeKernel::syncfs() {
    Bytes arguments;
    append(arguments, uint64_t{0});
    return call(FUSE_SYNCFS, 1, arguments).error;
}

void FakeKernel::forget(uint64_t nodeid, uint64_t count) {
    Bytes arguments;
    append(arguments, fuse_forget_in{count});
    send(FUSE_FORGET, nodeid, arguments, false);
    auto known = lookups_.find(nodeid);
    if (known == lookups_.end()) return;
    known->second -= std::min(known->second, count);
    if (known->second == 0) lookups_.erase(known);
}

void FakeKernel::batch_forget(std::span<const fuse_forget_one> nodes) {
    Bytes arguments;
    append(arguments, fuse_batch_forget_in{static_cast<uint32_t>(nodes.size()), 0});
    for (const auto& node : nodes) {
        append(arguments, node);
        auto known = lookups_.find(node.nodeid);
        if (known == lookups_.end()) continue;
        known->second -= std::min(known->second, node.nlookup);
        if (known->second == 0) lookups_.erase(known);
    }
    send(FUSE_BATCH_FORGET, 0, arguments, false);
}

void FakeKernel::forget_all() {
    std::vector<fuse_forget_one> nodes;
    for (auto [nodeid, count] : lookups_) {
        if (nodeid != 1) nodes.push_back({nodeid, count});
    }
    for (size_t at = 0; at < nodes.size(); at += 100) {
        batch_forget(std::span(nodes).subspan(at, std::min<size_t>(100, nodes.size() - at)));
    }
}

void FakeKernel::interrupt(uint64_t unique) {
    Bytes arguments;
    append(arguments, fuse_interrupt_in{unique});
    fuse_in_header header = next_header(FUSE_INTERRUPT, 0, arguments.size());
    header.unique = unique | 1;
    send_raw(message(header, arguments), std::nullopt);
}

}  // namespace templatefs::testing
