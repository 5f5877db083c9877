#include "inode/node_table.h"

namespace templatefs {
namespace {

constexpr uint32_t kFirstCapacity = 256;
// Names lie in blocks of 16, 32, 64, 128, 256 or 512 bytes, each size with its own free list.
constexpr size_t kSmallestBlock = 16;

uint64_t mix(uint64_t key) {  // splitmix64
    key += 0x9e3779b97f4a7c15ULL;
    key = (key ^ (key >> 30)) * 0xbf58476d1ce4e5b9ULL;
    key = (key ^ (key >> 27)) * 0x94d049bb133111ebULL;
    return key ^ (key >> 31);
}

uint32_t bucket_of(uint64_t key, uint32_t capacity) { return static_cast<uint32_t>(mix(key)) & (capacity - 1); }

// A length byte, the name, and a NUL for system calls: at most 257 bytes.
size_t name_block_size(size_t length) { return length + 2; }

size_t block_class(size_t size) {
    size_t index = 0;
    for (size_t block = kSmallestBlock; block < size; block *= 2) index++;
    return index;
}

}  // namespace

Node* NodeTable::at(Slot slot) {
    const Offset* chunks = state_.at<Offset>(state_.header().slots);
    return state_.at<Node>(chunks[slot / kChunkNodes]) + slot % kChunkNodes;
}

Slot NodeTable::slot_of(const Node& node) const {
    // Chunks are few and each Node knows its nodeid, so the slot is found where the hash table has it.
    const HashTable& table = state_.header().by_nodeid;
    const uint32_t* buckets = state_.at<uint32_t>(table.buckets);
    uint32_t bucket = bucket_of(node.nodeid, table.capacity);
    for (;;) {
        Slot slot = buckets[bucket];
        if (slot == 0) return 0;
        if (const_cast<NodeTable*>(this)->at(slot) == &node) return slot;
        bucket = (bucket + 1) & (table.capacity - 1);
    }
}

Node* NodeTable::node_in(const HashTable& table, uint64_t key, uint64_t Node::*field) {
    if (table.capacity == 0) return nullptr;
    const uint32_t* buckets = state_.at<uint32_t>(table.buckets);
    for (uint32_t bucket = bucket_of(key, table.capacity);; bucket = (bucket + 1) & (table.capacity - 1)) {
        Slot slot = buckets[bucket];
        if (slot == 0) return nullptr;
        Node* node = at(slot);
        if (node->*field == key) return node;
    }
}

Result<void> NodeTable::grow(HashTable& table, uint64_t Node::*field) {
    uint32_t capacity = table.capacity == 0 ? kFirstCapacity : table.capacity * 2;
    Offset fresh = TRY(state_.allocate(size_t{capacity} * sizeof(uint32_t)));
    uint32_t* to = state_.at<uint32_t>(fresh);
    const uint32_t* from = state_.at<uint32_t>(table.buckets);
    for (uint32_t i = 0; i < table.capacity; i++) {
        if (from[i] == 0) continue;
        uint32_t bucket = bucket_of(at(from[i])->*field, capacity);
        while (to[bucket] != 0) bucket = (bucket + 1) & (capacity - 1);
        to[bucket] = from[i];
    }
    set(table.buckets, fresh);
    set(table.capacity, capacity);
    return {};
}

Result<void> NodeTable::insert(HashTable& table, uint64_t key, Slot slot, uint64_t Node::*field) {
    if ((table.used + 1) * 2 > table.capacity) TRY(grow(table, field));
    uint32_t* buckets = state_.at<uint32_t>(table.buckets);
    uint32_t bucket = bucket_of(key, table.capacity);
    while (buckets[bucket] != 0) bucket = (bucket + 1) & (table.capacity - 1);
    set(buckets[bucket], slot);
    set(table.used, table.used + 1);
    return {};
}

void NodeTable::erase(HashTable& table, uint64_t key, uint64_t Node::*field) {
    uint32_t* buckets = state_.at<uint32_t>(table.buckets);
    uint32_t mask = table.capacity - 1;
    uint32_t hole = bucket_of(key, table.capacity);
    for (;; hole = (hole + 1) & mask) {
        if (buckets[hole] == 0) return;
        if (at(buckets[hole])->*field == key) break;
    }
    // Linear probing without gravestones: later entries of the run move up into the hole.
    for (uint32_t next = (hole + 1) & mask; buckets[next] != 0; next = (next + 1) & mask) {
        uint32_t home = bucket_of(at(buckets[next])->*field, table.capacity);
        if (((next - home) & mask) >= ((next - hole) & mask)) {
            set(buckets[hole], buckets[next]);
            hole = next;
        }
    }
    set(buckets[hole], 0);
    set(table.used, table.used - 1);
}

Result<Slot> NodeTable::take_slot() {
    StateHeader& h = state_.header();
    if (h.free_slot != 0) {
        Slot slot = h.free_slot;
        set(h.free_slot, at(slot)->next);
        return slot;
    }
    Slot slot = h.slot_count == 0 ? 1 : h.slot_count;  // slot 0 means none
    uint32_t chunk = slot / kChunkNodes;
    if (chunk >= kMaxChunks) return Errno(ENOMEM);
    Offset* chunks = state_.at<Offset>(h.slots);
    if (chunks[chunk] == 0) set(chunks[chunk], TRY(state_.allocate(kChunkNodes * sizeof(Node))));
    set(h.slot_count, slot + 1);
    return slot;
}

Result<Node*> NodeTable::create(uint64_t nodeid, uint64_t ino) {
    StateHeader& h = state_.header();
    Slot slot = TRY(take_slot());
    Node* node = at(slot);
    if (nodeid == 0) {
        if (h.next_nodeid < kFirstOwnNodeid) h.next_nodeid = kFirstOwnNodeid;
        nodeid = h.next_nodeid;
        h.next_nodeid = nodeid + 1;  // never rolled back, never used twice
    }
    // The slot is unused, but a roll back must find it free again.
    set(node->nodeid, nodeid);
    set(node->ino, ino);
    node->lookups = 0;
    node->counted = 0;
    node->name = 0;
    node->tombstone = 0;
    node->parent = 0;
    node->children = 0;
    node->origin = 0xffffffff;
    node->tree_links = 0;
    node->backing = 0;
    node->opens = 0;
    node->writers = 0;
    node->old_opens = 0;
    node->mode = 0;
    node->flags = 0;
    TRY(insert(h.by_nodeid, nodeid, slot, &Node::nodeid));
    if (find_ino(ino) == nullptr) TRY(insert(h.by_ino, ino, slot, &Node::ino));
    set(h.live_nodes, h.live_nodes + 1);
    return node;
}

void NodeTable::supersede(Node& old, Node& fresh) {
    StateHeader& h = state_.header();
    add_flag(old, kNodeSuperseded);
    set(fresh.old_opens, old.opens + old.old_opens);
    uint32_t* buckets = state_.at<uint32_t>(h.by_ino.buckets);
    uint32_t bucket = bucket_of(old.ino, h.by_ino.capacity);
    while (at(buckets[bucket])->ino != old.ino) bucket = (bucket + 1) & (h.by_ino.capacity - 1);
    set(buckets[bucket], slot_of(fresh));
    // Whoever still has the old nodeid asks for attributes through it, so the current Node must not go before it.
    set(fresh.lookups, fresh.lookups + 1);
}

void NodeTable::remove(Node& node) {
    StateHeader& h = state_.header();
    Slot slot = slot_of(node);
    if (node.parent != 0) {
        Node* parent = at(node.parent);
        set(parent->children, parent->children - 1);
    }
    if (node.name != 0) give_block(node.name, name_block_size(*state_.at<uint8_t>(node.name)));
    if (node.tombstone != 0) give_block(node.tombstone, sizeof(Tombstone));
    if (find_ino(node.ino) == &node) erase(h.by_ino, node.ino, &Node::ino);
    erase(h.by_nodeid, node.nodeid, &Node::nodeid);
    set(node.nodeid, 0);
    set(node.name, 0);
    set(node.tombstone, 0);
    set(node.parent, 0);
    freed_slots_.push_back(slot);
    set(h.live_nodes, h.live_nodes - 1);
}

std::string_view NodeTable::name(const Node& node) const {
    if (node.name == 0) return {};
    const uint8_t* block = state_.at<uint8_t>(node.name);
    return {reinterpret_cast<const char*>(block + 1), *block};
}

Result<void> NodeTable::move(Node& node, Node* parent, std::string_view name) {
    Offset block = 0;
    if (!name.empty()) {
        block = TRY(take_block(name_block_size(name.size())));
        uint8_t* to = state_.at<uint8_t>(block);
        *to = static_cast<uint8_t>(name.size());
        std::memcpy(to + 1, name.data(), name.size());
        to[name.size() + 1] = 0;
    }
    Offset old = node.name;
    if (old != 0) give_block(old, name_block_size(*state_.at<uint8_t>(old)));
    set(node.name, block);
    Slot parent_slot = parent == nullptr ? 0 : slot_of(*parent);
    if (node.parent != parent_slot) {
        if (node.parent != 0) {
            Node* before = at(node.parent);
            set(before->children, before->children - 1);
        }
        if (parent != nullptr) set(parent->children, parent->children + 1);
        set(node.parent, parent_slot);
    }
    return {};
}

Result<void> NodeTable::bury(Node& node, const Tombstone& tombstone) {
    if (node.tombstone == 0) set(node.tombstone, TRY(take_block(sizeof(Tombstone))));
    *state_.at<Tombstone>(node.tombstone) = tombstone;
    return {};
}

Tombstone* NodeTable::tombstone(Node& node) {
    return node.tombstone == 0 ? nullptr : state_.at<Tombstone>(node.tombstone);
}

Result<Offset> NodeTable::take_block(size_t size) {
    size_t index = block_class(size);
    Offset& head = state_.header().free_blocks[index];
    if (head != 0) {
        Offset block = head;
        set(head, *state_.at<Offset>(block));
        state_.preserve(*state_.at<Offset>(block));
        return block;
    }
    return state_.allocate(kSmallestBlock << index);
}

void NodeTable::give_block(Offset block, size_t size) { freed_blocks_.push_back({block, size}); }

void NodeTable::reclaim() {
    if (freed_slots_.empty() && freed_blocks_.empty()) return;
    StateHeader& h = state_.header();
    for (Slot slot : freed_slots_) {
        set(at(slot)->next, h.free_slot);
        set(h.free_slot, slot);
    }
    for (const FreedBlock& freed : freed_blocks_) {
        Offset& head = h.free_blocks[block_class(freed.size)];
        // What the block held is of no use to anyone, so its first word becomes the list without being remembered.
        *state_.at<Offset>(freed.block) = head;
        set(head, freed.block);
    }
    freed_slots_.clear();
    freed_blocks_.clear();
    state_.commit();
}

}  // namespace templatefs
