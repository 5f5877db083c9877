#pragma once
// Byte limits that the host's file system enforces for one private area, where it can. Whoever writes, the kernel then
// says EDQUOT, so private files keep passthrough. docs/quotas.md.

#include <cstdint>

#include "base/result.h"
#include "base/unique_fd.h"

namespace templatefs {

enum class HostQuotaKind : uint32_t {
    None = 0,
    Btrfs = 1,    // the private area is a subvolume, and the file system has quotas on: its qgroup
    Project = 2,  // ext4 and XFS: the private area has a project of its own, and project quotas are on
};

const char* host_quota_name(HostQuotaKind kind);

class HostQuota {
public:
    // What there is for the private area that `area` is the folder of. Changes nothing.
    // `outside` is any folder of the same file system that is in no private area; -1: the one that the area is in.
    static HostQuota probe(int area, int outside = -1);

    HostQuotaKind kind() const { return kind_; }
    // UINT64_MAX takes the limit away.
    Result<void> set_limit(uint64_t bytes) const;
    // What the file system holds against the limit. btrfs brings it up to date with each of its transactions only.
    Result<uint64_t> used() const;

private:
    HostQuotaKind kind_ = HostQuotaKind::None;
    uint64_t id_ = 0;      // of the subvolume, or the project
    // btrfs takes no request from inside a subvolume that is at its limit, not even for more.
    UniqueFd outside_;
    UniqueFd folder_;      // of the qgroup, in /sys
};

// Makes the folder `name`, as a subvolume where that lets the host enforce a quota on it. EEXIST when there is one.
Result<void> make_area_folder(int parent, const char* name);
// Removes an emptied subvolume with its qgroup; ENOTTY when it is no subvolume.
Result<void> remove_area_subvolume(int parent, const char* name);

}  // namespace templatefs
