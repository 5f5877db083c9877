#pragma once
// What a container's private area takes, and what it may take: the engine's part of quotas (docs/quotas.md).
//
// One rule makes the numbers right whatever is killed when: `used_bytes` is the sum of what each inode was last seen to
// take, and a Node remembers what that was (`counted`). Both change in one transaction of the shared state, so a worker
// that dies between a change on the host and the note of it leaves them agreeing with each other; whoever repeats or
// settles the change looks at the inode again, and the difference is put right. An inode without a Node has not changed
// since it was counted.

#include <cstdint>

#include "inode/node_table.h"
#include "private/host.h"
#include "private/host_quota.h"

namespace templatefs {

inline constexpr uint64_t kNoLimit = UINT64_MAX;

struct UsageTotals {
    uint64_t bytes = 0;
    uint64_t inodes = 0;
};

class Usage {
public:
    explicit Usage(NodeTable& nodes) : nodes_(nodes) {}

    UsageState& state() { return nodes_.state().header().usage; }
    const UsageState& state() const { return nodes_.state().header().usage; }

    // Whether anything is counted at all; nothing is for a container without limits.
    bool counts() const { return state().counting != 0; }
    // Whether all writes to private content have to come through the engine.
    bool counts_bytes() const { return (state().counting & kCountBytes) != 0; }

    // ---- before a change: EDQUOT when it does not fit
    // One more inode and its entry, which may make its folder grow by a block; `own_bytes` of the inode's own.
    Result<void> check_entry(uint64_t own_bytes) const;
    Result<void> check_bytes(uint64_t bytes) const;
    // Whether so little is left that each block counts.
    bool is_near_limit(uint64_t length) const;
    // How many of `length` bytes at `offset` may be written: all, as far as new blocks fit, or EDQUOT for none.
    Result<uint64_t> writable(int fd, uint64_t offset, uint64_t length) const;
    // All of the range is to be allocated, or nothing.
    Result<void> check_allocation(int fd, uint64_t offset, uint64_t length) const;

    // ---- after a change
    // The inode takes this now; an inode that was not counted yet is.
    void count(Node& node, const HostStat& stat);
    // A Node for an inode that the totals hold already.
    void know(Node& node, const HostStat& stat);
    // An inode without a Node.
    void add(const HostStat& stat);
    // The inode is gone.
    void drop(Node& node);
    // `heir` takes the place of `node`: it is the same inode.
    void hand_over(Node& node, Node& heir);

    // What must not fail for want of room: deleting. Its whiteouts and copied folders may go over the limit.
    class Exempt {
    public:
        explicit Exempt(Usage& usage) : usage_(usage) { usage_.exempt_++; }
        ~Exempt() { usage_.exempt_--; }
        Exempt(const Exempt&) = delete;
        Exempt& operator=(const Exempt&) = delete;

    private:
        Usage& usage_;
    };

private:
    uint64_t bytes_left() const;
    void change(uint64_t& total, uint64_t minus, uint64_t plus);

    NodeTable& nodes_;
    int exempt_ = 0;
};

inline uint64_t allocated_bytes(const HostStat& stat) { return stat.stx_blocks * 512; }

}  // namespace templatefs
