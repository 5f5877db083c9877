#pragma once
// One root: base tree and private area shown as one file system. This class knows where every file is and how it
// becomes private; the operations of the FUSE protocol are built on it in ops/.

#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"
#include "inode/dir_cache.h"
#include "inode/node_table.h"
#include "inode/open_files.h"
#include "inode/trace.h"
#include "inode/usage.h"
#include "private/area.h"
#include "private/host.h"
#include "private/node_xattr.h"
#include "private/partial_file.h"
#include "tree/tree_image.h"

struct fuse_kstatfs;  // <linux/fuse.h>

namespace templatefs {

// A file as a request names it.
struct File {
    Node* node = nullptr;          // null: it is as the tree has it, and nobody has it open
    NodeIndex index = kNoOrigin;   // the tree node whose content and metadata hold, unless it is private
    TreeNode tree{};               // its record

    bool is_private() const { return node != nullptr && (node->flags & kNodePrivate) != 0; }
    uint32_t type() const { return is_private() ? node->mode : (tree.mode & S_IFMT); }
    uint64_t ino() const { return node != nullptr ? node->ino : uint64_t{index} + 1; }
    uint64_t nodeid() const { return node != nullptr ? node->nodeid : uint64_t{index} + 1; }
};

// A folder, ready for work on its entries.
struct Folder {
    Node* node = nullptr;               // null: a tree folder without private entries
    DirRef dir;                         // its private side, if any
    std::optional<NodeIndex> origin;    // its tree side, if any
    TreeNode tree{};                    // of `origin`
};

// What a name in a folder leads to.
struct Child {
    File file;
    bool entry = false;               // there is a private entry of that name (not only a tree entry)
    std::optional<uint32_t> position; // of the name in the tree folder, also when it is hidden by the private entry
    HostStat stat{};                  // of the private entry
};

// Where a private file lies on the host, with what keeps that valid. It must outlive the Place it is read as.
class PinnedPlace {
public:
    // A name in `folder`, which the caller keeps.
    PinnedPlace(int folder, const char* name, DirRef pin = {}) : pin_(std::move(pin)), folder_(folder), name_(name) {}
    // A name that is this object's own.
    PinnedPlace(int folder, const InodeName& name) : folder_(folder), own_(name) {}

    operator Place() const { return {folder_, name_ != nullptr ? name_ : own_->text}; }

private:
    DirRef pin_;
    int folder_;
    const char* name_ = nullptr;
    std::optional<InodeName> own_{};
};

struct Attributes {
    uint64_t ino = 0, size = 0, blocks = 0;
    timespec atime{}, mtime{}, ctime{}, btime{};
    uint32_t mode = 0, nlink = 0, uid = 0, gid = 0, rdev = 0;
};

// Copying so much takes less time than a client would notice, and the file is served by passthrough from then on.
inline constexpr uint64_t kWholeCopyLimit = 1 << 20;

// Nodes above which the kernel is asked to forget some: about 150 bytes each, so 150 MiB.
inline constexpr uint32_t kMaxNodes = 1 << 20;
// So many times as many are the end: look-ups of more files and new files get ENOMEM.
inline constexpr uint32_t kHardLimitFactor = 4;
// Backing files of the kernel's passthrough that are kept for files which nobody has open.
inline constexpr uint32_t kKeptBackings = 16384;

// What the control plane believes of a private file: docs/protocols/control.md, `merge`.
struct MergeRequest {
    uint64_t ino = 0;
    uint64_t size = 0;
    timespec mtime{};
    ObjectRef object{};
    std::string_view path;  // one of its names, from the container's root
};

struct MergeAnswer {
    enum class Kind { Skipped, Merged, Kept, Unfinished, Failed };
    Kind kind = Kind::Skipped;
    const char* reason = "";  // Skipped
    int error = 0;            // Failed: an errno
    uint64_t offset = 0;      // Unfinished: so far it is equal
    uint64_t freed = 0;       // bytes of the private area

    Result<void> skip(const char* why) {
        kind = Kind::Skipped;
        reason = why;
        return {};
    }
    void merged(bool given_back) { kind = given_back ? Kind::Merged : Kind::Kept; }
    void unfinished(uint64_t at) {
        kind = Kind::Unfinished;
        offset = at;
    }
    void fail(int code) {
        kind = Kind::Failed;
        error = code;
    }
};

// How long one request of the control plane may keep the worker from serving the root.
class MergeBudget {
public:
    // `waiting` is readable when something else waits for the worker: until then the request may take longer, up to kLongest.
    explicit MergeBudget(uint64_t nanoseconds, int waiting = -1);
    bool is_used_up() const;

private:
    static constexpr uint64_t kLongest = 50'000'000;

    uint64_t end_;
    uint64_t longest_;
    int waiting_;
};

class Root {
public:
    struct Parts {
        UniqueFd objects;  // of a read-only mount: no open of an object can write
        TreeImage tree;
        PrivateArea area;
        SharedPaths shared{};
        IdMaps ids{};      // of the mount
        int fuse = -1;     // for backing ids; -1 in tests
        int outside = -1;  // as HostQuota::probe() wants it
        // Content up to this size is copied whole before its first change; larger files become partial ones.
        uint64_t whole_copy_limit = kWholeCopyLimit;
        uint32_t max_nodes = kMaxNodes;
    };

    Root(Parts parts, SharedState& state);

    // Clears what a killed engine left and finds indexed inodes. Once for each mount, not for each worker.
    Result<void> recover();
    // Finishes the step that a worker died in. Once for each worker.
    Result<void> settle();
    // Gives back unused inode numbers and writes down what is used. At a clean stop.
    void finish();

    // ---- files
    // ESTALE for a nodeid that is not known.
    Result<File> file(uint64_t nodeid);
    // The same for a request about content by a descriptor: one from before the file's copy-up still reads the template's.
    Result<File> opened_file(uint64_t nodeid);
    // ENOTDIR when it is no folder.
    Result<Folder> folder(uint64_t nodeid);
    Result<Folder> folder_of(const File& file);
    // The same with a private side: copies it up.
    Result<Folder> private_folder(uint64_t nodeid);
    // ENOENT when there is no such name.
    Result<Child> child(Folder& folder, std::string_view name);
    // The same for a listing, which tells of the name alone.
    Result<Child> find_child(Folder& folder, std::string_view name);
    // The same by position in the tree folder, where no private entry hides it.
    Result<Child> tree_child(Folder& folder, uint32_t position);
    Result<PinnedPlace> place(Node& node);
    // `known` is the host's statx of the entry, where the caller has it already.
    Result<Attributes> attributes(const File& file, const HostStat* known = nullptr);
    // A folder is empty when nothing shows in it. ENOTEMPTY otherwise.
    Result<void> check_empty(Folder& folder);
    // Reads the private side of a merged folder once, to know what hides tree entries.
    Result<void> scan(Folder& folder);

    // ---- becoming private
    // The Node of a file, so that opens and changes can be noted.
    Result<Node*> node_of(File& file);
    // Gives the file a private entry with its metadata; content stays shared. No change if it is private already.
    Result<void> materialize(File& file);
    // The entry `name`, which may be only the tree's, becomes a private entry of that folder.
    Result<void> materialize_entry(Folder& folder, std::string_view name, Child& child);
    // Makes the content the file's own, for a write. ESTALE: others have it open through the old content; the
    // kernel looks the name up again and finds the new file.
    Result<void> own_content(File& file, bool truncate);

    Result<void> set_xattr(Node& node, std::string_view name, std::span<const std::byte> value, int flags);
    Result<void> remove_xattr(Node& node, std::string_view name);
    // What write(2), truncate(2) and chown(2) by process `pid` do to the set-id bits of a private file. `may_be_chown`: the
    // kernel did not say which it is, so that it has not checked the owner either. EPERM then, if it has to be the owner.
    // `may_keep`: it is a write that the kernel told of for another reason, so CAP_FSETID keeps the bits.
    Result<void> clear_set_id(const File& file, uint32_t pid, bool may_be_chown = false, bool may_keep = false);

    // ---- names
    struct NewEntry {
        uint32_t mode;       // with type
        uint32_t rdev = 0;
        uint32_t umask = 0;
        uint32_t uid, gid;
        std::string_view target{};  // of a symlink, NUL-terminated
    };
    // Makes a file of any type; EEXIST when the name shows already.
    Result<File> make(Folder& folder, std::string_view name, const NewEntry& entry);
    // An inode without a name (O_TMPFILE), which can be linked later.
    Result<File> make_unnamed(Folder& folder, const NewEntry& entry);
    // Whether a container's own device 0:0 can be stored: overlayfs keeps those for itself.
    bool can_make_zero_devices();
    Result<void> unlink(Folder& folder, std::string_view name);
    Result<void> rmdir(Folder& folder, std::string_view name);
    Result<void> link(File& file, Folder& folder, std::string_view name);
    Result<void> rename(Folder& from, std::string_view old_name, Folder& to, std::string_view new_name, unsigned flags);

    // ---- content
    // A descriptor of the content, private or shared; O_RDONLY or O_RDWR (only private content opens for writing).
    Result<UniqueFd> open_content(const File& file, int flags);
    // Whether writes go to the private file: all of its content is its own, or it is partial.
    bool has_own_content(const File& file) const;
    // Whether only the changed blocks are the file's own: it is served through READ and WRITE.
    bool is_partial(const File& file) const;
    // pread(2), pwrite(2), ftruncate(2), lseek(2) (DATA and HOLE), fallocate(2), copy_file_range(2), fsync(2) of a regular
    // file, for requests that passthrough does not take. EROFS for a change of content that is not the file's own.
    Result<size_t> read_content(const File& file, std::span<std::byte> to, uint64_t offset);
    // At most what the limits allow is written: EDQUOT when nothing fits, and for `whole` (a page of a mapping) also when not
    // all does.
    Result<size_t> write_content(const File& file, std::span<const std::byte> from, uint64_t offset, bool whole);
    Result<void> resize(const File& file, uint64_t size);
    Result<uint64_t> seek_content(const File& file, uint64_t offset, int whence);
    Result<void> allocate(const File& file, int mode, uint64_t offset, uint64_t length);
    Result<size_t> copy_range(const File& from, uint64_t from_offset, const File& to, uint64_t to_offset, uint64_t length);
    // What an fsync of a private file takes: the fsync itself is done in between, perhaps by another thread.
    struct ContentSync {
        UniqueFd fd;
        bool whole = false;
        uint64_t xattr_changes = 0;
    };
    Result<ContentSync> begin_sync(const File& file, bool data_only);
    // It is done, and everything that the file had at begin_sync() is durable.
    Result<void> end_sync(const File& file, bool whole, uint64_t xattr_changes);
    // Whether the shared content of that file is served by passthrough (a shared path) or through READ and WRITE.
    Result<bool> is_shared_path(const File& file);
    // Registers the file that holds the content with the kernel, once; the node keeps the id. EOPNOTSUPP without
    // passthrough.
    Result<int32_t> backing(const File& file);
    void close_backing(Node& node);

    // ---- references
    void count_lookup(Node& node) { nodes_.set(node.lookups, node.lookups + 1); }
    void forget(uint64_t nodeid, uint64_t count);
    void opened(Node& node, bool writable);
    // The last close of a file without names frees it.
    void closed(Node& node, bool writable);
    void remove_unused(Node& node);

    // ---- broken objects: docs/maintenance.md
    struct LostObject {
        std::vector<uint64_t> nodeids;  // of which the kernel may have pages
        uint64_t opens = 0;             // that read past the engine, and go on until they are closed
    };
    // The object was set aside: from here on opens and reads of it fail, but for those that go past the engine.
    Result<LostObject> lose_object(const ObjectRef& object);
    // It was mended, in the same file: what is open by passthrough has the right bytes again, and so may new opens.
    void regain_object(const ObjectRef& object);

    // A descriptor for reading and writing was closed; mappings made with it may live on.
    void note_writable_close(Node& node);
    // Whether content and times of the file may change without a request: the kernel must not keep its attributes then.
    bool may_change_unseen(const File& file);

    // ---- merging: docs/merging.md
    // Makes a private file a link to an object of which every byte is equal. Between requests.
    MergeAnswer merge(const MergeRequest& request, const MergeBudget& budget);
    // The same for the files of one request, one after the other; then end_merging().
    MergeAnswer merge_next(const MergeRequest& request, const MergeBudget& budget);
    void end_merging();
    // Says whether any content has changed since it said the same; empty when it cannot say.
    std::string change_mark();
    // The container has changed metadata of that file.
    void note_ctime(Node& node);

    // ---- what is read: docs/installer.md, "Replays"
    void begin_trace() { trace_.begin(); }
    bool is_traced() const { return trace_.is_on(); }
    // Writes it to the file `trace` of the private area. false: there is none, or not all of it.
    Result<bool> end_trace();
    void trace_list(const Folder& folder);

    // ---- quotas: docs/quotas.md
    Usage& usage() { return usage_; }
    // What is used, after a look at all files that were written to lately. Between requests.
    Result<void> refresh_usage();
    // Changes the limits while the root is in use. EBUSY: the limit in bytes needs files to be served in another way than
    // they are open now. The caller keeps the settings file.
    Result<void> set_limits(uint64_t bytes, uint64_t inodes);
    // Does a step that deletes, for which there is always room.
    Result<void> delete_exempt(const std::function<Result<void>()>& step);
    // What statfs(2) shows under the limits.
    void limit_statfs(fuse_kstatfs& host);
    // Bytes as whoever enforces the limit counts them; nothing where nobody does.
    std::optional<uint64_t> used_bytes();

    // Gives back what the tables hold beyond their bounds. Between requests.
    void keep_bounds();

    NodeTable& nodes() { return nodes_; }
    SharedState& state() { return state_; }
    StateHeader& header() { return state_.header(); }
    const TreeImage& tree() const { return tree_; }
    PrivateArea& area() { return area_; }
    int fuse() const { return fuse_; }
    void drop_caches();
    /// Takes the tree out of this process's page tables; it stays in the page cache.
    void give_back_tree_pages() const { tree_.drop_pages(); }
    // An xattr of the file changed: what is known of its ACLs is read again.
    void note_acl_change(const Node& node);
    // Tells the kernel to ask for the attributes again.
    void forget_attributes(uint64_t nodeid);

private:
    Result<TreeNode> tree_node(NodeIndex index) const { return tree_.node(index); }
    Result<timespec> birth(const Node& node, timespec host_birth) const;
    // The name under which the tree first has a node, and its folder.
    Result<std::string_view> tree_name(NodeIndex index, const TreeNode& node) const;
    Result<DirRef> dir(Node& node);
    Result<Node*> private_tree_folder(NodeIndex index);
    Result<Node*> copy_up_folder(Node& parent, NodeIndex index, const TreeNode& node, std::string_view name);
    Result<Node*> note_entry(Node& parent, std::string_view name, const HostStat& stat, std::optional<NodeInfo> info);
    Result<NodeInfo> node_info(Place place);
    Result<void> materialize_as(File& file, bool empty);
    Result<void> put_in_place(Place staged, Place target, Intent intent);
    Result<File> file_at(std::string_view path);
    Result<void> merge_file(Node& node, const MergeRequest& request, const MergeBudget& budget, MergeAnswer& answer);
    enum class Comparison { Equal, Different, Unfinished };
    Result<Comparison> compare(const OpenFile& content, int object, uint64_t size, const MergeBudget& budget);
    Result<UniqueFd> open_alone(const Node& node, Place where);
    Result<bool> is_in_use(const Node& node, Place where);
    void note_merged(Node& node, const NodeInfo& link);
    Result<void> empty_link(Place where, const Intent& intent, const NodeInfo& link);
    Result<void> empty_link(int fd, Place where, const Intent& intent, const NodeInfo& link);
    static void note_freed(Place where, const HostStat& before, MergeAnswer& answer);
    Result<void> give_back_content(Node& node, MergeAnswer& answer);
    void release_own_backing(Node& node);
    uint32_t adopted_flag(const NodeInfo& info) const;
    Result<std::string> traced_path(uint64_t nodeid);
    void trace_name(const Folder& folder, std::string_view name);
    void forget_trace();
    uint32_t content_flags(const NodeInfo& info) const;
    // Somebody may change the content from here on.
    void end_comparison(const Node& node) {
        if (comparing_.ino == node.ino) comparing_.ino = 0;
    }
    Result<UniqueFd> open_object(const ObjectRef& object, int flags);
    Result<std::optional<ObjectRef>> shown_object(Node& node);
    void find_shared_folders(const SharedPaths& paths);
    Result<void> bury(Node& node, const HostStat& stat);
    Result<void> copy_up_root();
    Result<void> copy_metadata(Place staged, const TreeNode& node);
    Result<void> index_node(Node& node);
    Result<void> load_indexed();
    Result<uint64_t> new_ino();
    std::string staging_name();
    Result<void> clear_staging();
    Result<void> mend_content(Place place, const HostStat& stat, NodeInfo& info);
    Result<void> restore_link(Place place, const Intent& intent);
    Result<void> fill_content(Place place, NodeInfo& info, Intent& intent, bool truncate);
    // The descriptors of the content, kept open.
    Result<OpenFile*> open_data(const File& file, bool writable);
    Result<void> set_shown(const File& file, OpenFile& content, uint64_t shown);
    // The node xattr says something new about the content: the next fsync must make it durable, too.
    void note_new_xattr(Node& node);
    PartialFile partial(const OpenFile& content) const;
    void note_overridden(Folder& folder, std::optional<uint32_t> position, int64_t subfolders);
    Result<void> remove_entry(Folder& folder, std::string_view name, const Child& child);
    Result<void> remove_name(Folder& folder, std::string_view name, Child& child);
    template <class Publish>
    Result<void> make_aside(Folder& folder, const NewEntry& entry, uint32_t mode, const NodeInfo& info, Publish&& publish);
    Result<uint32_t> names_left(const Node& node, const HostStat& stat) const;
    Result<void> replace_by_opaque(Folder& folder, std::string_view name, Child& child);
    Result<void> keep_open_file(Folder& folder, std::string_view name, Child& child);
    // The notes of each kind of step, made after it was done on the host; by the worker that did it or by its successor.
    Result<void> note_made(const Intent& intent);
    Result<void> note_materialized(const Intent& intent);
    Result<void> note_own_content(const Intent& intent);
    Result<void> note_indexed(const Intent& intent);
    Result<void> note_tree_name(const Intent& intent);
    Result<void> note_removed(const Intent& intent);
    Result<void> note_renamed(const Intent& intent);
    Result<void> mend_old_name(const Intent& intent);
    // One name of `ino` is gone; `stat` is its entry's before, if it had one.
    Result<void> name_removed(uint64_t ino, bool entry, const HostStat& stat);
    Result<bool> settle_step(const Intent& intent);
    // The end of each armed step: what it touched is counted, then it is crossed out.
    void end_step(const Intent& intent, bool last);
    void count_step(const Intent& intent);
    void count_node(Node& node);
    void count_folder(Folder& folder) {
        if (folder.node != nullptr) count_node(*folder.node);
    }
    Result<void> count_content(const File& file, int fd);
    void settle_content(Node& node);
    // How much of a write fits.
    struct Room {
        uint64_t bytes = 0;
        uint64_t size_before = 0;
        bool made_longer = false;
    };
    Result<Room> take_room(const File& file, int fd, uint64_t offset, uint64_t length);
    // After it: what was not written is given back, the rest is counted.
    Result<void> end_write(const File& file, int fd, const Room& room, uint64_t offset, uint64_t written);
    Result<void> check_copy(int object);
    Result<void> check_allocation(int fd, uint64_t offset, uint64_t length);
    void make_room(uint64_t length);
    void start_changes();
    void note_change();
    void store_changes();
    void start_usage();
    Result<void> load_usage();
    Result<void> begin_counting(uint32_t counting);
    void store_usage();
    void restore_host_limit();
    template <class Visit>
    void for_each_node(Visit&& visit);
    Result<void> dress(Place place, uint32_t mode, uint32_t uid, uint32_t gid, const HostStat& parent, const NodeInfo& info);
    Result<bool> has_default_acl(Folder& folder);
    void release_node(Node& node);
    // Before a Node is made for what a container does. ENOMEM at the limit.
    Result<void> check_node_room();
    void close_idle_backings();
    void prune_nodes();
    // The Node of the slot after `hand`, which goes round; null where there is none.
    Node* next_node(Slot& hand);

    UniqueFd objects_;
    TreeImage tree_;
    PrivateArea area_;
    IdMaps ids_;
    int fuse_;
    SharedState& state_;
    NodeTable nodes_;
    DirCache dirs_;
    OpenFiles open_files_;
    Usage usage_;
    HostQuota host_quota_;
    bool ahead_ = true;  // XFS may have allocated ahead since make_room() looked
    uint64_t whole_copy_limit_;
    uint32_t max_nodes_;
    Slot backing_hand_ = 0, prune_hand_ = 0;
    // Not before there were so many requests, so many nodeids.
    uint64_t close_again_ = 0, prune_again_ = 0;
    uint64_t xattr_changes_ = 0;  // of all files, since this worker began
    bool can_prune_ = true;
    uint32_t block_;  // of partial files
    // The file that is being compared with an object over several requests, as long as nobody can have changed it.
    struct Comparing {
        uint64_t ino = 0;  // 0: none
        ObjectRef object{};
        statx_timestamp ctime{};
        uint64_t offset = 0;
    };
    Comparing comparing_;
    // What the files of one request share: memory to compare in, and the Node of the last one, which keeps its folders: the
    // next file is likely to be in them.
    std::unique_ptr<std::byte[]> merge_buffer_;
    uint64_t last_merged_ = 0;
    std::optional<bool> keeps_order_;  // of the host, once somebody has asked
    Trace trace_;
    std::vector<NodeIndex> shared_folders_;  // sorted
    std::optional<bool> zero_devices_;       // once it was tried
};

}  // namespace templatefs
