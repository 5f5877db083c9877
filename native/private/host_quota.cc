#include "private/host_quota.h"

#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/fs.h>
#include <linux/quota.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "private/settings.h"

namespace templatefs {
namespace {

constexpr long kBtrfsMagic = 0x9123683E;        // BTRFS_SUPER_MAGIC
constexpr uint64_t kSubvolumeInode = 256;       // BTRFS_FIRST_FREE_OBJECTID: the top folder of each subvolume
constexpr unsigned kProjectQuota = 2;           // PRJQUOTA
constexpr uint64_t kUnlimited = UINT64_MAX;

bool is_btrfs(int fd) {
    struct statfs host;
    return ::fstatfs(fd, &host) == 0 && host.f_type == kBtrfsMagic;
}

bool is_subvolume(int fd) {
    struct stat stat;
    return is_btrfs(fd) && ::fstat(fd, &stat) == 0 && stat.st_ino == kSubvolumeInode;
}

Result<uint64_t> subvolume_id(int fd) {
    btrfs_ioctl_ino_lookup_args args{};
    args.objectid = kSubvolumeInode;
    TRY(checked_void(::ioctl(fd, BTRFS_IOC_INO_LOOKUP, &args)));
    return uint64_t{args.treeid};
}

Result<std::string> sysfs_folder(int fd) {
    btrfs_ioctl_fs_info_args info{};
    TRY(checked_void(::ioctl(fd, BTRFS_IOC_FS_INFO, &info)));
    std::string path = "/sys/fs/btrfs/";
    for (size_t i = 0; i < sizeof info.fsid; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) path += '-';
        char digits[3];
        std::snprintf(digits, sizeof digits, "%02x", info.fsid[i]);
        path += digits;
    }
    return path + "/qgroups";
}

int quota_control(int fd, int command, uint32_t id, void* data) {
    constexpr long kQuotactlFd = 443;  // Linux 5.14
    return static_cast<int>(::syscall(kQuotactlFd, fd, QCMD(command, kProjectQuota), id, data));
}

// The project of a folder whose entries inherit it; 0 for none.
uint32_t inherited_project(int fd) {
    fsxattr attributes{};
    if (::ioctl(fd, FS_IOC_FSGETXATTR, &attributes) < 0) return 0;
    return (attributes.fsx_xflags & FS_XFLAG_PROJINHERIT) != 0 ? attributes.fsx_projid : 0;
}

}  // namespace

const char* host_quota_name(HostQuotaKind kind) {
    switch (kind) {
        case HostQuotaKind::Btrfs:
            return "btrfs";
        case HostQuotaKind::Project:
            return "project";
        case HostQuotaKind::None:
            break;
    }
    return "engine";
}

HostQuota HostQuota::probe(int area, int outside) {
    HostQuota quota;
    auto opened = outside < 0 ? open_at(area, "..", O_RDONLY | O_DIRECTORY) : open_at(outside, ".", O_RDONLY | O_DIRECTORY);
    if (!opened.ok()) return quota;
    quota.outside_ = opened.take();
    if (is_subvolume(area)) {
        auto id = subvolume_id(area);
        auto folder = sysfs_folder(area);
        if (!id.ok() || !folder.ok()) return quota;
        std::string own = folder.value() + "/0_" + std::to_string(id.value());
        auto group = open_at(AT_FDCWD, own.c_str(), O_RDONLY | O_DIRECTORY);
        if (!group.ok()) return quota;
        quota.kind_ = HostQuotaKind::Btrfs;
        quota.id_ = id.value();
        quota.folder_ = group.take();
        return quota;
    }
    if (is_btrfs(area)) return quota;
    const uint32_t project = inherited_project(area);
    if (project == 0) return quota;
    if_dqblk block{};
    if (quota_control(area, Q_GETQUOTA, project, &block) < 0) return quota;
    quota.kind_ = HostQuotaKind::Project;
    quota.id_ = project;
    return quota;
}

Result<void> HostQuota::set_limit(uint64_t bytes) const {
    if (kind_ == HostQuotaKind::Btrfs) {
        btrfs_ioctl_qgroup_limit_args args{};
        args.qgroupid = id_;
        args.lim.flags = BTRFS_QGROUP_LIMIT_MAX_RFER;
        args.lim.max_rfer = bytes;  // all ones clear it
        return checked_void(::ioctl(outside_.get(), BTRFS_IOC_QGROUP_LIMIT, &args));
    }
    if (kind_ == HostQuotaKind::Project) {
        if_dqblk block{};
        // In units of QIF_DQBLKSIZE; 0 is no limit, so the smallest limit is one unit.
        uint64_t blocks = bytes == kUnlimited ? 0 : bytes / 1024;
        block.dqb_bhardlimit = bytes != kUnlimited && blocks == 0 ? 1 : blocks;
        block.dqb_valid = QIF_BLIMITS;
        return checked_void(quota_control(outside_.get(), Q_SETQUOTA, static_cast<uint32_t>(id_), &block));
    }
    return Errno(EOPNOTSUPP);
}

Result<uint64_t> HostQuota::used() const {
    if (kind_ == HostQuotaKind::Btrfs) {
        std::string text = TRY(read_small_file(folder_.get(), "referenced"));
        return uint64_t{std::strtoull(text.c_str(), nullptr, 10)};
    }
    if (kind_ == HostQuotaKind::Project) {
        if_dqblk block{};
        TRY(checked_void(quota_control(outside_.get(), Q_GETQUOTA, static_cast<uint32_t>(id_), &block)));
        return uint64_t{block.dqb_curspace};
    }
    return Errno(EOPNOTSUPP);
}

Result<void> make_area_folder(int parent, const char* name) {
    if (!is_btrfs(parent) || std::strlen(name) > BTRFS_SUBVOL_NAME_MAX) return checked_void(::mkdirat(parent, name, 0700));
    btrfs_ioctl_vol_args_v2 args{};
    std::strcpy(args.name, name);
    TRY(checked_void(::ioctl(parent, BTRFS_IOC_SUBVOL_CREATE_V2, &args)));
    UniqueFd made = TRY(open_at(parent, name, O_RDONLY | O_DIRECTORY));
    return checked_void(::fchmod(made.get(), 0700));
}

Result<void> remove_area_subvolume(int parent, const char* name) {
    uint64_t id;
    {
        UniqueFd folder = TRY(open_at(parent, name, O_RDONLY | O_DIRECTORY));
        if (!is_subvolume(folder.get())) return Errno(ENOTTY);
        id = TRY(subvolume_id(folder.get()));
    }
    btrfs_ioctl_vol_args args{};
    if (std::strlen(name) > BTRFS_PATH_NAME_MAX) return Errno(ENAMETOOLONG);
    std::strcpy(args.name, name);
    TRY(checked_void(::ioctl(parent, BTRFS_IOC_SNAP_DESTROY, &args)));
    // The qgroup stays behind otherwise. Where it is still in use until the subvolume's blocks are freed, newer kernels
    // remove it then by themselves.
    btrfs_ioctl_qgroup_create_args group{};
    group.qgroupid = id;
    (void)::ioctl(parent, BTRFS_IOC_QGROUP_CREATE, &group);
    return {};
}

}  // namespace templatefs
