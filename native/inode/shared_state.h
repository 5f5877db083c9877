#pragma once
// The engine's memory that outlives a worker.
//
// Everything the kernel may ask about later (which file a nodeid is, how often it is open, which backing file it has)
// lies in one memfd that the holder keeps and each worker maps. A worker can die at any instruction, so every change
// of a word that was there before goes through set(): the old value is written to an undo log first. A request's
// changes are committed by storing its answer in the answer log (for one that has none: by commit()). The next worker
// rolls an open transaction back, asks the kernel to send unanswered requests again, and answers the one that had been
// committed from the log instead of doing it twice.
//
// Only one thread of one process writes at any time (those of the syncer know nothing of it). A killed process's stores are visible in program order, so
// compiler barriers are all the ordering that is needed.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

#include "base/result.h"
#include "base/unique_fd.h"
#include "inode/intent.h"

namespace templatefs {

// A place in the shared memory: bytes from its start; 0 is "none".
using Offset = uint64_t;

inline constexpr uint64_t kStateMagic = 0x3153465453544154ULL;  // "TATSTFS1"
inline constexpr uint32_t kStateVersion = 2;

struct HashTable {
    Offset buckets = 0;     // array of uint32 slots; 0 empty
    uint32_t capacity = 0;  // power of two
    uint32_t used = 0;
};

struct UndoEntry {
    uint64_t old_value;
    uint64_t where;  // offset << 8 | size
};

// Nodes lie in chunks of kChunkNodes; the table of chunks has a fixed place and is touched only as far as it is used.
inline constexpr uint32_t kChunkNodes = 64;
inline constexpr uint32_t kMaxChunks = 1 << 20;
inline constexpr uint32_t kUndoCapacity = 32768;
inline constexpr uint32_t kAnswerCapacity = 4096;

// Which of its counts the engine keeps.
enum UsageCounting : uint32_t {
    kCountInodes = 1,
    kCountBytes = 2,  // and so all writes to private content come through the engine
};

// Quotas of the container: docs/quotas.md. All zero for a container without limits.
struct UsageState {
    uint32_t counting;
    uint32_t host_quota;    // HostQuotaKind: who enforces limit_bytes where the engine does not count bytes
    uint64_t limit_bytes;   // UINT64_MAX none
    uint64_t limit_inodes;  // UINT64_MAX none
    uint64_t used_bytes;
    uint64_t used_inodes;
    uint64_t block_size;
    uint32_t allocates_ahead;  // the host is XFS: see Root::make_room
    uint32_t live;          // bytes are counted since later than the mount
};

struct StateHeader {
    uint64_t magic;
    uint32_t version;
    uint32_t header_size;
    uint64_t brk;  // first unused byte

    // What FUSE_INIT settled; a worker that takes over gets no INIT.
    uint32_t initialized;
    uint32_t minor;
    uint64_t flags;
    uint32_t passthrough;        // 1 when the kernel takes backing files
    uint32_t passthrough_error;  // why not: an errno; ENOSYS the kernel does not offer it, ECANCELED it is turned off
    uint32_t generation;         // of every nodeid of this mount: a file handle of another mount must not open one of ours
    uint32_t max_write;

    uint64_t next_nodeid;
    uint64_t next_fh;
    uint64_t next_ino;
    uint64_t reserved_ino;
    uint64_t staging_counter;

    HashTable by_nodeid;
    HashTable by_ino;
    Offset slots;  // kMaxChunks offsets of chunks
    uint32_t slot_count;
    uint32_t free_slot;
    Offset free_blocks[6];
    uint32_t live_nodes;
    uint32_t root_slot;
    uint64_t opens;
    uint32_t backings;
    uint32_t restarts;

    uint64_t requests;
    uint64_t requests_by_opcode[64];

    UsageState usage;

    Intent intent;           // the step that is under way; written in plain, never rolled back
    uint64_t settled_unique; // the request whose last step was done when its worker died

    // A request that crashes each worker: native/session/deadly_request.h.
    uint64_t serving_unique;  // what the worker is at; 0 nothing
    uint64_t deadly_unique;   // what the worker was at that crashed last
    uint32_t deadly_count;    // so many in a row at that one
    uint32_t serving_opcode;

    uint64_t current_unique;  // the request that the undo log belongs to
    uint64_t answer_unique;   // the last committed request; 0 none
    uint32_t answer_size;
    uint32_t undo_count;
    std::byte answer[kAnswerCapacity];
    UndoEntry undo[kUndoCapacity];
};

class SharedState {
public:
    // Makes an empty state in a new memfd (for the holder).
    static Result<UniqueFd> create();
    // EUCLEAN when it is no state of this version. Changes nothing: a worker may be using it.
    static Result<void> check(int memfd);
    // Maps it, rolls back what a dead worker left half done. EUCLEAN when it is no state of this version.
    static Result<SharedState> attach(int memfd);

    SharedState(SharedState&& other) noexcept;
    SharedState& operator=(SharedState&&) = delete;
    ~SharedState();

    StateHeader& header() { return *reinterpret_cast<StateHeader*>(base_); }
    const StateHeader& header() const { return *reinterpret_cast<const StateHeader*>(base_); }

    template <class T>
    T* at(Offset offset) {
        return reinterpret_cast<T*>(base_ + offset);
    }
    template <class T>
    const T* at(Offset offset) const {
        return reinterpret_cast<const T*>(base_ + offset);
    }

    // Changes one word of the shared memory so that it can be undone. T is an integer of 1, 2, 4 or 8 bytes.
    template <class T>
    void set(T& field, std::type_identity_t<T> value) {
        static_assert(std::is_integral_v<T> && sizeof(T) <= 8);
        if (field == value) return;
        remember(&field, static_cast<uint64_t>(field), sizeof(T));
        field = value;
    }

    // Remembers a word that is about to be overwritten without set().
    template <class T>
    void preserve(T& field) {
        remember(&field, static_cast<uint64_t>(field), sizeof(T));
    }

    // Fresh zeroed memory, 16-byte aligned. It is given back only when the transaction is rolled back. ENOMEM at the limit.
    Result<Offset> allocate(size_t size);

    // Starts the transaction of a request.
    void begin(uint64_t unique);
    // Ends it; `answer` is its finished message, kept if it fits, so that a resend is answered and not done again.
    void commit(std::span<const std::byte> answer);
    // Keeps what was changed so far, also if the request is not finished.
    void commit() { header().undo_count = 0; }

    // Writes the filled-in intent down: from here on settle() of a later worker looks after it.
    void arm(const Intent& intent);
    // The step is done and noted. `last`: it was all that the request had to change.
    void disarm(bool last);
    // Whether the current request had been done by a worker that died before it answered.
    bool already_done() const { return header().settled_unique != 0 && header().settled_unique == header().current_unique; }
    // Takes back everything since the last commit.
    void roll_back();

    // The answer of `unique`, if that was the last request committed before the worker died; else empty.
    std::span<const std::byte> answer_of(uint64_t unique) const;

private:
    explicit SharedState(std::byte* base) : base_(base) {}
    void remember(const void* field, uint64_t old_value, size_t size);

    std::byte* base_ = nullptr;
};

}  // namespace templatefs
