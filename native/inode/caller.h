#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "private/id_map.h"

namespace templatefs {

// What a process may do, read from /proc: for the few decisions that a request does not carry enough for. (With
// FUSE_ALLOW_IDMAP only requests that make inodes carry a uid and gid, and none carries groups or capabilities.)
struct Caller {
    uint32_t fs_uid = 0;
    uint32_t fs_gid = 0;
    std::vector<uint32_t> groups;
    uint64_t capabilities = 0;  // effective, in its own user namespace
    IdMap uid_map;              // of that namespace: `outside` is as the engine sees it
    IdMap gid_map;

    // nullopt when the process is gone or is not visible from here.
    static std::optional<Caller> read(uint32_t pid);

    // setattr_should_drop_suidgid() of fs/attr.c leaves a file as it is for such a writer
    bool may_keep_set_id() const;
    // ext4 lists the names of `trusted.` xattrs only to such a process
    bool may_see_trusted() const;
    // Ids are those that the inode has on the host, through the map of the mount; nullopt where that has none.
    // inode_owner_or_capable() of fs/inode.c
    bool owns(std::optional<uint32_t> uid) const;
    // in_group_or_capable() of fs/attr.c: may it keep the set-group-id bit of a file of that owner and group?
    bool may_keep_set_gid(std::optional<uint32_t> uid, std::optional<uint32_t> gid) const;

private:
    // In the initial user namespace, as capable() of the kernel wants it.
    bool has_host_capability(unsigned number) const;
    bool has_capability(unsigned number) const { return (capabilities >> number & 1) != 0; }
};

}  // namespace templatefs
