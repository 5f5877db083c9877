#include <array>

#include "ops/operation.h"
#include "wire/opcodes.h"

namespace templatefs {
namespace {

struct Entry {
    uint32_t opcode;
    Handler handler;
};

constexpr std::array kHandlers = {
    Entry{FUSE_LOOKUP, op_lookup},
    Entry{FUSE_FORGET, op_forget},
    Entry{FUSE_BATCH_FORGET, op_batch_forget},
    Entry{FUSE_GETATTR, op_getattr},
    Entry{kFuseStatx, op_statx},
    Entry{FUSE_SETATTR, op_setattr},
    Entry{FUSE_STATFS, op_statfs},
    Entry{FUSE_READLINK, op_readlink},
    Entry{FUSE_SYMLINK, op_symlink},
    Entry{FUSE_MKNOD, op_mknod},
    Entry{FUSE_MKDIR, op_mkdir},
    Entry{FUSE_UNLINK, op_unlink},
    Entry{FUSE_RMDIR, op_rmdir},
    Entry{FUSE_RENAME, op_rename},
    Entry{FUSE_RENAME2, op_rename2},
    Entry{FUSE_LINK, op_link},
    Entry{FUSE_OPEN, op_open},
    Entry{FUSE_CREATE, op_create},
    Entry{kFuseTmpfile, op_tmpfile},
    Entry{FUSE_RELEASE, op_release},
    Entry{FUSE_READ, op_read},
    Entry{FUSE_WRITE, op_write},
    Entry{FUSE_FSYNC, op_fsync},
    Entry{FUSE_FSYNCDIR, op_fsyncdir},
    Entry{FUSE_LSEEK, op_lseek},
    Entry{FUSE_FALLOCATE, op_fallocate},
    Entry{FUSE_COPY_FILE_RANGE, op_copy_file_range},
    Entry{FUSE_IOCTL, op_ioctl},
    Entry{FUSE_GETXATTR, op_getxattr},
    Entry{FUSE_SETXATTR, op_setxattr},
    Entry{FUSE_LISTXATTR, op_listxattr},
    Entry{FUSE_REMOVEXATTR, op_removexattr},
    Entry{FUSE_READDIR, op_readdir},
    Entry{FUSE_READDIRPLUS, op_readdirplus},
};

constexpr auto kByOpcode = [] {
    std::array<Handler, kOpcodeLimit> handlers{};
    for (const Entry& entry : kHandlers) handlers[entry.opcode] = entry.handler;
    return handlers;
}();

}  // namespace

Handler find_handler(uint32_t opcode) { return opcode < kOpcodeLimit ? kByOpcode[opcode] : nullptr; }

}  // namespace templatefs
