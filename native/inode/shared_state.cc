#include "inode/shared_state.h"

#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "inode/state_check.h"

namespace templatefs {
namespace {

// Address space only: the memfd is sparse and pages come with their first use.
constexpr size_t kMappedSize = 16ULL << 30;

void barrier() { std::atomic_signal_fence(std::memory_order_seq_cst); }

}  // namespace

Result<UniqueFd> SharedState::create() {
    int fd = ::memfd_create("templatefs-engine-state", MFD_CLOEXEC);
    if (fd < 0) return Errno::last();
    UniqueFd memfd(fd);
    TRY(checked_void(::ftruncate(fd, static_cast<off_t>(kMappedSize))));
    StateHeader* header =
        static_cast<StateHeader*>(::mmap(nullptr, sizeof(StateHeader), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    if (header == MAP_FAILED) return Errno::last();
    header->magic = kStateMagic;
    header->version = kStateVersion;
    header->header_size = sizeof(StateHeader);
    if (::getrandom(&header->generation, sizeof header->generation, 0) < 0) return Errno::last();
    header->slots = (sizeof(StateHeader) + 4095) & ~4095ULL;
    header->brk = header->slots + kMaxChunks * sizeof(Offset);
    ::munmap(header, sizeof(StateHeader));
    return memfd;
}

namespace {

bool is_ours(const StateHeader& header) {
    return header.magic == kStateMagic && header.version == kStateVersion && header.header_size == sizeof(StateHeader);
}

}  // namespace

Result<void> SharedState::check(int memfd) {
    struct stat stat;
    TRY(checked_void(::fstat(memfd, &stat)));
    if (stat.st_size != static_cast<off_t>(kMappedSize)) return Errno(EUCLEAN);
    void* base = ::mmap(nullptr, sizeof(StateHeader), PROT_READ, MAP_SHARED, memfd, 0);
    if (base == MAP_FAILED) return Errno::last();
    const bool ours = is_ours(*static_cast<const StateHeader*>(base));
    ::munmap(base, sizeof(StateHeader));
    if (!ours) return Errno(EUCLEAN);
    return {};
}

Result<SharedState> SharedState::attach(int memfd) {
    void* base = ::mmap(nullptr, kMappedSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, memfd, 0);
    if (base == MAP_FAILED) return Errno::last();
    SharedState state(static_cast<std::byte*>(base));
    const StateHeader& header = state.header();
    if (!is_ours(header)) return Errno(EUCLEAN);
    TRY(check_header(header, kMappedSize));
    if (header.answer_unique != 0 && header.answer_unique == header.current_unique) state.commit();
    else state.roll_back();
    TRY(check_tables(state, kMappedSize));
    return state;
}

SharedState::SharedState(SharedState&& other) noexcept : base_(std::exchange(other.base_, nullptr)) {}

SharedState::~SharedState() {
    if (base_ != nullptr) ::munmap(base_, kMappedSize);
}

void SharedState::remember(const void* field, uint64_t old_value, size_t size) {
    StateHeader& h = header();
    // A request that changes more than the log holds (a listing of thousands of new nodes) is committed in parts: at
    // worst, look-up counts of a resent listing are too high and its nodes stay in memory until the unmount.
    if (h.undo_count == kUndoCapacity) h.undo_count = 0;
    auto offset = static_cast<uint64_t>(static_cast<const std::byte*>(field) - base_);
    h.undo[h.undo_count] = {old_value, offset << 8 | size};
    barrier();
    h.undo_count++;
    barrier();
}

void SharedState::roll_back() {
    StateHeader& h = header();
    while (h.undo_count > 0) {
        const UndoEntry& entry = h.undo[h.undo_count - 1];
        std::memcpy(base_ + (entry.where >> 8), &entry.old_value, entry.where & 0xff);
        barrier();
        h.undo_count--;
        barrier();
    }
}

Result<Offset> SharedState::allocate(size_t size) {
    size = (size + 15) & ~size_t{15};
    StateHeader& h = header();
    if (size > kMappedSize - h.brk) return Errno(ENOMEM);
    Offset offset = h.brk;
    set(h.brk, offset + size);
    // Memory that a rolled-back transaction had used is not zero any more.
    std::memset(base_ + offset, 0, size);
    return offset;
}

void SharedState::begin(uint64_t unique) {
    StateHeader& h = header();
    h.current_unique = unique;
    barrier();
}

void SharedState::commit(std::span<const std::byte> answer) {
    StateHeader& h = header();
    // The old answer must not be taken for this request's while it is half overwritten.
    h.answer_unique = 0;
    barrier();
    if (answer.size() <= kAnswerCapacity) {
        std::memcpy(h.answer, answer.data(), answer.size());
        h.answer_size = static_cast<uint32_t>(answer.size());
        barrier();
        // The commit point: attach() keeps the changes of a request that has an answer.
        h.answer_unique = h.current_unique;
        barrier();
    }
    h.undo_count = 0;
    barrier();
}

void SharedState::arm(const Intent& intent) {
    StateHeader& h = header();
    // What led here is on the host already and must not be rolled back without it.
    commit();
    Intent copy = intent;
    copy.kind = IntentKind::None;
    h.intent = copy;
    barrier();
    h.intent.kind = intent.kind;
    barrier();
}

void SharedState::disarm(bool last) {
    StateHeader& h = header();
    if (last) h.settled_unique = h.current_unique;
    barrier();
    commit();
    barrier();
    h.intent.kind = IntentKind::None;
    barrier();
}

std::span<const std::byte> SharedState::answer_of(uint64_t unique) const {
    const StateHeader& h = header();
    if (h.answer_unique == 0 || h.answer_unique != unique) return {};
    return std::span(h.answer).first(h.answer_size);
}

}  // namespace templatefs
