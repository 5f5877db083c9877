#pragma once
#include <array>
#include <cstdint>
#include <string_view>

#include "wire/fuse_abi.h"

namespace templatefs {

// One line for each opcode that the engine knows. `arguments` is the least size of what follows the header; a
// shorter request is answered EINVAL before any handler sees it. Opcodes without a handler are answered ENOSYS,
// which for some of them tells the kernel to stop asking (noted).
struct OpcodeInfo {
    uint32_t opcode;
    std::string_view name;
    uint32_t arguments;
    bool changes;   // may change the root: refused while frozen, and its answer is kept for a resend
    bool answered;  // FORGET, BATCH_FORGET and INTERRUPT get no answer
};

inline constexpr std::array kOpcodes = {
    OpcodeInfo{FUSE_LOOKUP, "lookup", 1, false, true},
    OpcodeInfo{FUSE_FORGET, "forget", sizeof(fuse_forget_in), false, false},
    OpcodeInfo{FUSE_GETATTR, "getattr", sizeof(fuse_getattr_in), false, true},
    OpcodeInfo{FUSE_SETATTR, "setattr", sizeof(fuse_setattr_in), true, true},
    OpcodeInfo{FUSE_READLINK, "readlink", 0, false, true},
    OpcodeInfo{FUSE_SYMLINK, "symlink", 2, true, true},
    OpcodeInfo{FUSE_MKNOD, "mknod", sizeof(fuse_mknod_in), true, true},
    OpcodeInfo{FUSE_MKDIR, "mkdir", sizeof(fuse_mkdir_in), true, true},
    OpcodeInfo{FUSE_UNLINK, "unlink", 1, true, true},
    OpcodeInfo{FUSE_RMDIR, "rmdir", 1, true, true},
    OpcodeInfo{FUSE_RENAME, "rename", sizeof(fuse_rename_in), true, true},
    OpcodeInfo{FUSE_LINK, "link", sizeof(fuse_link_in), true, true},
    OpcodeInfo{FUSE_OPEN, "open", sizeof(fuse_open_in), true, true},
    OpcodeInfo{FUSE_READ, "read", sizeof(fuse_read_in), false, true},
    OpcodeInfo{FUSE_WRITE, "write", sizeof(fuse_write_in), true, true},
    OpcodeInfo{FUSE_STATFS, "statfs", 0, false, true},
    OpcodeInfo{FUSE_RELEASE, "release", sizeof(fuse_release_in), true, true},
    OpcodeInfo{FUSE_FSYNC, "fsync", sizeof(fuse_fsync_in), false, true},
    OpcodeInfo{FUSE_SETXATTR, "setxattr", sizeof(fuse_setxattr_in), true, true},
    OpcodeInfo{FUSE_GETXATTR, "getxattr", sizeof(fuse_getxattr_in), false, true},
    OpcodeInfo{FUSE_LISTXATTR, "listxattr", sizeof(fuse_getxattr_in), false, true},
    OpcodeInfo{FUSE_REMOVEXATTR, "removexattr", 1, true, true},
    OpcodeInfo{FUSE_FLUSH, "flush", 0, false, true},  // ENOSYS: close(2) costs no request from then on
    OpcodeInfo{FUSE_INIT, "init", 16, false, true},
    OpcodeInfo{FUSE_OPENDIR, "opendir", 0, false, true},  // ENOSYS with NO_OPENDIR_SUPPORT: never asked again
    OpcodeInfo{FUSE_READDIR, "readdir", sizeof(fuse_read_in), false, true},
    OpcodeInfo{FUSE_RELEASEDIR, "releasedir", 0, false, true},
    OpcodeInfo{FUSE_FSYNCDIR, "fsyncdir", sizeof(fuse_fsync_in), false, true},
    OpcodeInfo{FUSE_INTERRUPT, "interrupt", 0, false, false},
    OpcodeInfo{FUSE_CREATE, "create", sizeof(fuse_create_in), true, true},
    OpcodeInfo{FUSE_DESTROY, "destroy", 0, false, true},
    OpcodeInfo{FUSE_IOCTL, "ioctl", sizeof(fuse_ioctl_in), true, true},
    OpcodeInfo{FUSE_BATCH_FORGET, "batch_forget", sizeof(fuse_batch_forget_in), false, false},
    OpcodeInfo{FUSE_FALLOCATE, "fallocate", sizeof(fuse_fallocate_in), true, true},
    OpcodeInfo{FUSE_READDIRPLUS, "readdirplus", sizeof(fuse_read_in), false, true},
    OpcodeInfo{FUSE_RENAME2, "rename2", sizeof(fuse_rename2_in), true, true},
    OpcodeInfo{FUSE_LSEEK, "lseek", sizeof(fuse_lseek_in), false, true},
    OpcodeInfo{FUSE_COPY_FILE_RANGE, "copy_file_range", sizeof(fuse_copy_file_range_in), true, true},
    OpcodeInfo{FUSE_SYNCFS, "syncfs", 0, false, true},
    OpcodeInfo{kFuseTmpfile, "tmpfile", sizeof(fuse_create_in), true, true},
    OpcodeInfo{kFuseStatx, "statx", sizeof(StatxIn), false, true},
};

inline constexpr uint32_t kOpcodeLimit = 64;

// Index into kOpcodes by opcode, or -1.
inline constexpr auto kOpcodeIndex = [] {
    std::array<int8_t, kOpcodeLimit> index{};
    index.fill(-1);
    for (size_t i = 0; i < kOpcodes.size(); i++) index[kOpcodes[i].opcode] = static_cast<int8_t>(i);
    return index;
}();

constexpr const OpcodeInfo* find_opcode(uint32_t opcode) {
    if (opcode >= kOpcodeLimit || kOpcodeIndex[opcode] < 0) return nullptr;
    return &kOpcodes[static_cast<size_t>(kOpcodeIndex[opcode])];
}

}  // namespace templatefs
