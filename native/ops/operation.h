#pragma once
// The handlers of the FUSE opcodes, one function each, grouped in files by family. A handler fills the reply or returns
// an error; it never does both, and it never sends.

#include "inode/root.h"
#include "inode/syncer.h"
#include "wire/reply.h"
#include "wire/request.h"

namespace templatefs {

struct Operation {
    Root& root;
    Request& request;
    Reply& reply;
    Syncer* syncer = nullptr;  // without one an fsync is waited for

    ArgumentReader& arguments() { return request.arguments; }
    uint64_t node() const { return request.header.nodeid; }
};

using Handler = Result<void> (*)(Operation&);

// The handler of an opcode; nullptr where the answer is ENOSYS.
Handler find_handler(uint32_t opcode);

// names.cc
Result<void> op_lookup(Operation& op);
Result<void> op_mknod(Operation& op);
Result<void> op_mkdir(Operation& op);
Result<void> op_symlink(Operation& op);
Result<void> op_unlink(Operation& op);
Result<void> op_rmdir(Operation& op);
Result<void> op_rename(Operation& op);
Result<void> op_rename2(Operation& op);
Result<void> op_link(Operation& op);
Result<void> op_readlink(Operation& op);
Result<void> op_forget(Operation& op);
Result<void> op_batch_forget(Operation& op);

// attributes.cc
Result<void> op_getattr(Operation& op);
Result<void> op_statx(Operation& op);
Result<void> op_setattr(Operation& op);
Result<void> op_statfs(Operation& op);

// xattrs.cc
Result<void> op_getxattr(Operation& op);
Result<void> op_setxattr(Operation& op);
Result<void> op_listxattr(Operation& op);
Result<void> op_removexattr(Operation& op);

// open.cc
Result<void> op_open(Operation& op);
Result<void> op_create(Operation& op);
Result<void> op_tmpfile(Operation& op);
Result<void> op_release(Operation& op);

// data.cc
Result<void> op_read(Operation& op);
Result<void> op_write(Operation& op);
Result<void> op_fsync(Operation& op);
Result<void> op_fsyncdir(Operation& op);
// An fsync that was answered later is done: what its request fails with, if it fails.
Result<void> end_sync(Root& root, const SyncJob& job);
Result<void> op_lseek(Operation& op);
Result<void> op_fallocate(Operation& op);
Result<void> op_copy_file_range(Operation& op);

// file_flags.cc
Result<void> op_ioctl(Operation& op);

// readdir.cc
Result<void> op_readdir(Operation& op);
Result<void> op_readdirplus(Operation& op);

}  // namespace templatefs
