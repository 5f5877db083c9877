#include "inode/state_check.h"

#include <sys/stat.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <vector>

#include "inode/node_table.h"

namespace templatefs {
namespace {

constexpr Errno kBroken{EUCLEAN};

bool is_safe_name(std::string_view name) {
    if (name.empty() || name == "." || name == "..") return false;
    return name.find('/') == std::string_view::npos && name.find('\0') == std::string_view::npos;
}

bool is_safe_intent_name(const char* bytes, uint16_t size) {
    if (size > 255 || bytes[size] != 0) return false;
    return size == 0 || is_safe_name({bytes, size});
}

class TableCheck {
public:
    TableCheck(const SharedState& state, size_t mapped_size) : state_(state), h_(state.header()), mapped_size_(mapped_size) {}

    Result<void> run() {
        if (h_.brk < kNodesStart || h_.brk > mapped_size_ || h_.brk % 16 != 0) return kBroken;
        if (h_.slots != (sizeof(StateHeader) + 4095) / 4096 * 4096) return kBroken;
        if (h_.slot_count > kMaxChunks * kChunkNodes || h_.root_slot >= std::max(h_.slot_count, 1U)) return kBroken;
        const auto* chunks = state_.at<Offset>(h_.slots);
        for (uint32_t chunk = 0; chunk * kChunkNodes < h_.slot_count; chunk++)
            if (!holds(chunks[chunk], kChunkNodes * sizeof(Node))) return kBroken;
        TRY(check_hash(h_.by_nodeid));
        TRY(check_hash(h_.by_ino));
        TRY(check_nodes());
        TRY(check_parents());
        return check_free_lists();
    }

private:
    static constexpr Offset kNodesStart = (sizeof(StateHeader) + 4095) / 4096 * 4096 + kMaxChunks * sizeof(Offset);

    // In allocated memory, which is aligned.
    bool holds(Offset offset, size_t size) const {
        return offset >= kNodesStart && offset % 16 == 0 && offset <= h_.brk && size <= h_.brk - offset;
    }

    const Node& node(Slot slot) const {
        return state_.at<Node>(state_.at<Offset>(h_.slots)[slot / kChunkNodes])[slot % kChunkNodes];
    }

    // Every search ends at an empty bucket.
    Result<void> check_hash(const HashTable& table) const {
        if (table.capacity == 0) return table.used == 0 ? Result<void>() : kBroken;
        if (!std::has_single_bit(table.capacity) || !holds(table.buckets, size_t{table.capacity} * sizeof(uint32_t))) return kBroken;
        const auto* buckets = state_.at<uint32_t>(table.buckets);
        uint32_t used = 0;
        for (uint32_t i = 0; i < table.capacity; i++) {
            if (buckets[i] == 0) continue;
            if (buckets[i] >= h_.slot_count || node(buckets[i]).nodeid == 0) return kBroken;
            used++;
        }
        return used == table.used && used <= table.capacity / 2 ? Result<void>() : kBroken;
    }

    Result<void> check_nodes() {
        // Looked up as the engine does it; it changes nothing.
        NodeTable table(const_cast<SharedState&>(state_));
        if (h_.root_slot != 0 && (node(h_.root_slot).nodeid != kRootNodeid || !S_ISDIR(node(h_.root_slot).mode))) return kBroken;
        for (Slot slot = 1; slot < h_.slot_count; slot++) {
            const Node& at = node(slot);
            if (at.nodeid == 0) continue;
            if (table.find(at.nodeid) != &at || table.find_ino(at.ino) == nullptr) return kBroken;
            if (at.parent >= h_.slot_count) return kBroken;
            if (at.parent != 0 && (node(at.parent).nodeid == 0 || !S_ISDIR(node(at.parent).mode) || at.name == 0)) return kBroken;
            if (at.tombstone != 0 && !holds(at.tombstone, sizeof(Tombstone))) return kBroken;
            if (at.name == 0) continue;
            if (!holds(at.name, 16)) return kBroken;
            const auto* block = state_.at<uint8_t>(at.name);
            if (!holds(at.name, size_t{*block} + 2) || block[*block + 1] != 0) return kBroken;
            if (!is_safe_name({reinterpret_cast<const char*>(block + 1), *block})) return kBroken;
        }
        return {};
    }

    // From each Node one comes to the end by its parents.
    Result<void> check_parents() const {
        std::vector<bool> ends(h_.slot_count, false);
        std::vector<Slot> way;
        for (Slot first = 1; first < h_.slot_count; first++) {
            way.clear();
            for (Slot at = first; at != 0 && !ends[at]; at = node(at).parent) {
                way.push_back(at);
                if (way.size() > h_.slot_count) return kBroken;
                if (node(at).nodeid == 0) break;
            }
            for (Slot at : way) ends[at] = true;
        }
        return {};
    }

    Result<void> check_free_lists() const {
        uint32_t count = 0;
        for (Slot at = h_.free_slot; at != 0; at = node(at).next) {
            if (at >= h_.slot_count || node(at).nodeid != 0 || ++count > h_.slot_count) return kBroken;
        }
        size_t size = 16;
        for (Offset head : h_.free_blocks) {
            uint64_t left = h_.brk / size;
            for (Offset at = head; at != 0; at = *state_.at<Offset>(at)) {
                if (!holds(at, size) || left-- == 0) return kBroken;
            }
            size *= 2;
        }
        return {};
    }

    const SharedState& state_;
    const StateHeader& h_;
    size_t mapped_size_;
};

}  // namespace

Result<void> check_header(const StateHeader& header, size_t mapped_size) {
    if (header.answer_size > kAnswerCapacity || header.undo_count > kUndoCapacity) return kBroken;
    for (uint32_t i = 0; i < header.undo_count; i++) {
        const uint64_t size = header.undo[i].where & 0xff;
        const uint64_t offset = header.undo[i].where >> 8;
        if (size > sizeof(uint64_t) || !std::has_single_bit(size) || offset % size != 0) return kBroken;
        // set() is never used on what the log itself, the intent and the answer are kept in.
        const bool in_header = offset + size <= offsetof(StateHeader, intent);
        if (!in_header && (offset < sizeof(StateHeader) || offset > mapped_size - size)) return kBroken;
    }
    const Intent& intent = header.intent;
    if (intent.kind > IntentKind::Merge) return kBroken;
    if (intent.kind == IntentKind::None) return {};
    // The second name of such a step is an xattr's value, the first name of these an xattr's name.
    const bool is_value = intent.kind == IntentKind::OwnContent;
    const bool is_xattr = intent.kind == IntentKind::SetXattr || intent.kind == IntentKind::RemoveXattr;
    if (intent.name_size > 255 || intent.other_size > 255) return kBroken;
    if (is_xattr ? intent.name_bytes[intent.name_size] != 0 : !is_safe_intent_name(intent.name_bytes, intent.name_size)) return kBroken;
    if (!is_value && !is_safe_intent_name(intent.other_bytes, intent.other_size)) return kBroken;
    return {};
}

Result<void> check_tables(const SharedState& state, size_t mapped_size) { return TableCheck(state, mapped_size).run(); }

}  // namespace templatefs
