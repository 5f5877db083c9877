#pragma once
// What Linux 6.18 (FUSE 7.45) has in include/uapi/linux/fuse.h and Debian 12's headers (6.1, FUSE 7.37) have not, under
// the kernel's names. Everything here is checked against the running kernel by FUSE_INIT, never assumed.

#include <linux/fuse.h>
#include <sys/ioctl.h>

#include <cstdint>

#if FUSE_KERNEL_VERSION != 7
#error "unknown FUSE protocol"
#endif

#if FUSE_KERNEL_MINOR_VERSION < 40
#define FUSE_DIRECT_IO_ALLOW_MMAP (1ULL << 36)
#define FUSE_PASSTHROUGH (1ULL << 37)
#define FUSE_NO_EXPORT_SUPPORT (1ULL << 38)
#define FUSE_HAS_RESEND (1ULL << 39)
#define FUSE_ALLOW_IDMAP (1ULL << 40)
#define FOPEN_PASSTHROUGH (1 << 7)

struct fuse_backing_map {
    int32_t fd;
    uint32_t flags;
    uint64_t padding;
};
#define FUSE_DEV_IOC_BACKING_OPEN _IOW(229, 1, struct fuse_backing_map)
#define FUSE_DEV_IOC_BACKING_CLOSE _IOW(229, 2, uint32_t)
#endif

#if FUSE_KERNEL_MINOR_VERSION < 38
#define FUSE_CREATE_SUPP_GROUP (1ULL << 34)
#endif

namespace templatefs {

constexpr uint32_t kFuseTmpfile = 51;          // 7.37
constexpr uint32_t kFuseStatx = 52;            // 7.39
constexpr uint32_t kFuseCopyFileRange64 = 53;  // 7.45
constexpr int32_t kNotifyPrune = 9;            // FUSE_NOTIFY_PRUNE, 7.45
constexpr int32_t kNotifyResend = 7;           // FUSE_NOTIFY_RESEND, 7.40
constexpr uint64_t kUniqueResend = 1ULL << 63; // set in `unique` of a request that is sent again

// struct fuse_open_out and fuse_init_out as of 7.40; same size as before, the padding has names now.
struct OpenOut {
    uint64_t fh;
    uint32_t open_flags;
    int32_t backing_id;
};
static_assert(sizeof(OpenOut) == sizeof(fuse_open_out));

struct InitOut {
    uint32_t major;
    uint32_t minor;
    uint32_t max_readahead;
    uint32_t flags;
    uint16_t max_background;
    uint16_t congestion_threshold;
    uint32_t max_write;
    uint32_t time_gran;
    uint16_t max_pages;
    uint16_t map_alignment;
    uint32_t flags2;
    uint32_t max_stack_depth;
    uint16_t request_timeout;
    uint16_t unused[11];
};
static_assert(sizeof(InitOut) == 64);

// struct fuse_notify_prune_out, 7.45; so many nodeids follow.
struct NotifyPrune {
    uint32_t count;
    uint32_t padding;
    uint64_t spare;
};

// struct fuse_statx and friends, 7.39.
struct StatxTime {
    int64_t tv_sec;
    uint32_t tv_nsec;
    int32_t reserved;
};
struct StatxBody {
    uint32_t mask;
    uint32_t blksize;
    uint64_t attributes;
    uint32_t nlink;
    uint32_t uid;
    uint32_t gid;
    uint16_t mode;
    uint16_t spare0;
    uint64_t ino;
    uint64_t size;
    uint64_t blocks;
    uint64_t attributes_mask;
    StatxTime atime;
    StatxTime btime;
    StatxTime ctime;
    StatxTime mtime;
    uint32_t rdev_major;
    uint32_t rdev_minor;
    uint32_t dev_major;
    uint32_t dev_minor;
    uint64_t spare2[14];
};
static_assert(sizeof(StatxBody) == 256);
struct StatxIn {
    uint32_t getattr_flags;
    uint32_t reserved;
    uint64_t fh;
    uint32_t sx_flags;
    uint32_t sx_mask;
};
struct StatxOut {
    uint64_t attr_valid;
    uint32_t attr_valid_nsec;
    uint32_t flags;
    uint64_t spare[2];
    StatxBody stat;
};
static_assert(sizeof(StatxOut) == 288);

}  // namespace templatefs
