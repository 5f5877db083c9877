#pragma once
// Which file each nodeid is.
//
// A nodeid of the tree is its index + 1 and needs nothing here as long as the file is as the tree has it and is not
// open: an untouched container costs no memory. Everything else (private files, open files) has a Node in the shared
// state. Nodeids of our own count up from kFirstOwnNodeid and are never used twice, because a FORGET that a dead
// worker had read is lost.

#include <cstdint>
#include <string_view>
#include <vector>

#include "inode/shared_state.h"
#include "tree/tree_image.h"

namespace templatefs {

inline constexpr uint64_t kRootNodeid = 1;
inline constexpr uint64_t kFirstOwnNodeid = 1ULL << 48;

inline constexpr bool is_tree_nodeid(uint64_t nodeid) { return nodeid < kFirstOwnNodeid; }

// The index of a Node among all; 0 is none.
using Slot = uint32_t;

struct Node {
    uint64_t nodeid;  // 0: this slot is free
    uint64_t ino;
    // How often the kernel has been told of it, less what it forgot. Exact for our own nodeids; a tree nodeid may have
    // been told before it had a Node, so its Node stays until the unmount once it is private.
    uint64_t lookups;
    uint64_t counted; // bytes of it that the usage holds; only with kNodeCounted
    Offset name;      // its name in `parent`: a length byte, then the bytes; 0 none
    Offset tombstone; // a Tombstone: what is left of a file without names that nobody has open
    Slot parent;      // the private folder that holds it; 0 for the root, for inodes in inodes/, for tree files
    uint32_t children;// Nodes whose parent this is
    uint32_t origin;  // tree node, or kNoOrigin
    uint32_t tree_links;
    int32_t backing;  // backing id, 0 none
    uint32_t opens;
    uint32_t writers;
    uint32_t old_opens; // opens of Nodes that this one superseded: they keep the file, too
    uint32_t mode;    // type bits only
    uint32_t flags;
    Slot next;        // of the free list

    bool is_open() const { return opens > 0 || old_opens > 0; }
};
static_assert(sizeof(Node) == 96);

enum NodeFlag : uint32_t {
    kNodePrivate = 1,      // it has an entry in the private area
    kNodeIndexed = 2,      // which has a name in inodes/
    kNodeLink = 4,         // its content is an object
    kNodeMerged = 8,       // folder: private entries over those of the tree folder `origin`
    kNodeSuperseded = 16,  // another Node has the same ino and is current (copied up while this was open)
    kNodeDeleted = 32,     // it has no name any more
    kNodeCached = 64,      // its opens are served by READ and WRITE, not by passthrough
    kNodePristine = 128,   // the root folder before its own metadata was changed
    kNodePartial = 256,    // its content is its own only where that was written
    kNodeCounted = 512,    // the usage holds it
    kNodeUnsettled = 1024, // written to: the host may yet take more or less for it than was counted
    kNodeLateStores = 2048, // it was open for reading and writing by passthrough: such a mapping may still be there
    kNodeTwin = 4096,      // current, and a superseded Node has the same ino: the kernel has two inodes for one file
    kNodeLostCapability = 8192,  // its security.capability was removed, and no SETATTR came since
    kNodeNewXattr = 16384, // its node xattr says something new about its content, which fdatasync(2) alone need not make durable
    kNodeBroken = 32768,   // its object was found broken while it was open by passthrough: no new opens
    kNodeAdopted = 1 << 16, // a link that was a private file: its ctime stands in the node xattr, its blocks are the object's
    kNodeWhole = 1 << 17,  // a link whose host inode still has all of the content
    kNodeOwnBacking = 1 << 18,  // a link that is open by passthrough to its host inode, from before it was one
};

// Attributes kept for a deleted file that has no host inode any more; docs/formats/private-area.md does not know it.
struct Tombstone {
    uint32_t mode, uid, gid, mtime_nsec, ctime_nsec, atime_nsec;
    int64_t mtime, ctime, atime;
    uint64_t size;
};

class NodeTable {
public:
    explicit NodeTable(SharedState& state) : state_(state) {}

    Node* find(uint64_t nodeid) { return node_in(state_.header().by_nodeid, nodeid, &Node::nodeid); }
    // The current Node of an inode number.
    Node* find_ino(uint64_t ino) { return node_in(state_.header().by_ino, ino, &Node::ino); }
    Node* at(Slot slot);
    Slot slot_of(const Node& node) const;

    // A new Node with that nodeid, or a fresh one of our own for nodeid 0. ENOMEM at the table's limit. It becomes the
    // current one of its ino.
    Result<Node*> create(uint64_t nodeid, uint64_t ino);
    // Makes `fresh` the current Node of its ino in the place of `old`, which becomes superseded.
    void supersede(Node& old, Node& fresh);
    void remove(Node& node);

    std::string_view name(const Node& node) const;
    Result<void> move(Node& node, Node* parent, std::string_view name);

    Result<void> bury(Node& node, const Tombstone& tombstone);
    Tombstone* tombstone(Node& node);

    // Makes what committed transactions freed usable again. Call it between transactions.
    void reclaim();

    SharedState& state() { return state_; }
    template <class T>
    void set(T& field, std::type_identity_t<T> value) {
        state_.set(field, value);
    }
    void add_flag(Node& node, uint32_t flag) { set(node.flags, node.flags | flag); }
    void drop_flag(Node& node, uint32_t flag) { set(node.flags, node.flags & ~flag); }

private:
    Node* node_in(const HashTable& table, uint64_t key, uint64_t Node::*field);
    Result<void> insert(HashTable& table, uint64_t key, Slot slot, uint64_t Node::*field);
    void erase(HashTable& table, uint64_t key, uint64_t Node::*field);
    Result<void> grow(HashTable& table, uint64_t Node::*field);
    Result<Slot> take_slot();
    Result<Offset> take_block(size_t size);
    void give_block(Offset block, size_t size);

    struct FreedBlock {
        Offset block;
        size_t size;
    };
    SharedState& state_;
    // Freed by the open transaction: nothing may overwrite them before it can no longer be rolled back.
    std::vector<Slot> freed_slots_;
    std::vector<FreedBlock> freed_blocks_;
};

}  // namespace templatefs
