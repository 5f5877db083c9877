// A whole session on a real small root: rows of requests, well-formed, cut and raw, with workers that are replaced, answers
// that are asked for again, and remounts in between. Whatever comes, each request gets one answer of the right form,
// nothing outside the private area changes, and the root that is left is not broken (EIO): only the engine wrote it.

#include <fcntl.h>
#include <linux/fs.h>

#include <optional>

#include "fuzz/scratch.h"
#include "inode/recount.h"
#include "wire/opcodes.h"

namespace templatefs::fuzz {
namespace {

constexpr size_t kMostRequests = 64;

const std::string kNames[] = {"conf",  "new",  "usr",  "etc",  "a",   "b", "leaf", "hard", "large", "tool",      "nothing", "link",
                              "empty", "deep", "var",  "n2",   "",    ".", "..",   "a/b",  "\xff\x01", std::string(255, 'n'), std::string(256, 'n')};
const std::string kXattrs[] = {"user.a", "user.b", "security.s", "security.capability", "trusted.t", "trusted.templatefs.node",
                               "system.posix_acl_access", "system.posix_acl_default", "trusted.SGI_ACL_FILE", "user.", "", "x"};

class Requests {
public:
    Requests(SmallStore& store, Input input) : store_(store), choices_(input) {
        const uint8_t kind = choices_.byte();
        has_limits_ = kind % 4 == 1;
        store_.reset(has_limits_ ? "quota-size 65536\nquota-inodes 24\n" : "");
        mount();
    }

    void run() {
        for (size_t i = 0; i < kMostRequests && !choices_.done(); i++) one();
        finish();
    }

private:
    void mount() {
        memory_ = new_state();
        state_.emplace(SharedState::attach(memory_.get()).take());
        root_.emplace(store_.parts(), *state_);
        if (auto recovered = root_->recover(); !recovered.ok()) finding("cannot mount: errno " + std::to_string(recovered.error_code()));
        kernel_.emplace(*root_);
        kernel_->init();
        nodes_.clear();
        for (uint64_t nodeid = 1; nodeid <= store_.node_count(); nodeid++) nodes_.push_back(nodeid);
    }

    void unmount(bool cleanly) {
        if (cleanly) root_->finish();
        kernel_.reset();
        root_.reset();
        state_.reset();
    }

    // As after SIGKILL between two requests.
    void replace_worker() {
        const auto unique = kernel_->next_unique();
        unmount(false);
        state_.emplace(SharedState::attach(memory_.get()).take());
        root_.emplace(store_.parts(), *state_);
        if (auto settled = root_->settle(); !settled.ok()) finding("cannot take over: errno " + std::to_string(settled.error_code()));
        kernel_.emplace(*root_);
        while (kernel_->next_unique() < unique) {
        }
    }

    void finish() {
        check_counts();
        unmount(choices_.one_in(2));
        mount();
        if (walk_root(*kernel_, 60) != 0) finding("the root is broken after a remount");
        check_counts();
        unmount(true);
        store_.check_untouched();
    }

    // What was counted step by step is what counting everything gives.
    void check_counts() {
        if (!has_limits_) return;
        if (!root_->refresh_usage().ok()) finding("cannot count");
        UsageTotals all = recount(root_->area()).take();
        const UsageState& counted = root_->usage().state();
        if (counted.used_inodes != all.inodes || counted.used_bytes != all.bytes) {
            finding("counted " + std::to_string(counted.used_inodes) + " inodes, " + std::to_string(counted.used_bytes) +
                    " bytes; there are " + std::to_string(all.inodes) + ", " + std::to_string(all.bytes));
        }
    }

    uint64_t node() {
        const uint8_t which = choices_.byte();
        if (which == 255) return choices_.take<uint64_t>();
        return nodes_[which % nodes_.size()];
    }

    template <class T>
    void add(const T& value) {
        const auto bytes = std::as_bytes(std::span(&value, 1));
        arguments_.insert(arguments_.end(), bytes.begin(), bytes.end());
    }
    void add_text(std::string_view text) {
        const auto bytes = std::as_bytes(std::span(text));
        arguments_.insert(arguments_.end(), bytes.begin(), bytes.end());
        arguments_.push_back(std::byte{0});
    }
    void add_name() {
        const size_t which = choices_.pick(std::size(kNames) + 2);
        add_text(which < std::size(kNames) ? std::string_view(kNames[which]) : choices_.text(choices_.byte()));
    }
    void add_xattr_name() {
        const size_t which = choices_.pick(std::size(kXattrs) + 1);
        add_text(which < std::size(kXattrs) ? std::string_view(kXattrs[which]) : choices_.text(choices_.byte()));
    }
    void add_bytes(Input bytes) { arguments_.insert(arguments_.end(), bytes.begin(), bytes.end()); }

    // Sizes and offsets around what matters here, and any.
    uint64_t number() {
        switch (choices_.pick(6)) {
            case 0: return choices_.byte();
            case 1: return choices_.take<uint16_t>();
            case 2: return 4096 * uint64_t{choices_.byte() % 8u} + choices_.byte() - 128;
            case 3: return 20000 - choices_.byte();
            case 4: return 0;
            default: return choices_.take<uint64_t>();
        }
    }
    uint32_t small_number() { return static_cast<uint32_t>(number()); }
    uint32_t open_flags() {
        constexpr uint32_t kFlags[] = {O_RDONLY, O_WRONLY, O_RDWR, O_RDWR | O_TRUNC, O_WRONLY | O_APPEND, O_RDONLY | O_TRUNC};
        return kFlags[choices_.pick(std::size(kFlags))];
    }

    void put_arguments(uint32_t opcode) {
        switch (opcode) {
            case FUSE_FORGET: add(fuse_forget_in{choices_.byte()}); break;
            case FUSE_BATCH_FORGET: {
                const uint8_t count = choices_.byte();
                fuse_batch_forget_in in{};
                in.count = count;
                add(in);
                for (uint8_t i = 0; i < count % 8; i++) add(fuse_forget_one{node(), choices_.byte()});
                break;
            }
            case FUSE_SETATTR: {
                fuse_setattr_in in{};
                in.valid = choices_.take<uint16_t>();
                in.size = number();
                in.mode = choices_.take<uint16_t>();
                in.uid = choices_.byte();
                in.gid = choices_.byte();
                in.mtime = number();
                in.mtimensec = choices_.take<uint32_t>() % 1'000'000'000;
                in.atime = in.mtime;
                add(in);
                break;
            }
            case FUSE_GETATTR: add(fuse_getattr_in{}); break;
            case kFuseStatx: add(StatxIn{}); break;
            case FUSE_SYMLINK:
                add_name();
                add_name();
                break;
            case FUSE_MKNOD: {
                fuse_mknod_in in{};
                constexpr uint32_t kTypes[] = {S_IFREG, S_IFIFO, S_IFCHR, S_IFBLK, S_IFSOCK, 0, S_IFDIR, S_IFLNK};
                in.mode = kTypes[choices_.pick(std::size(kTypes))] | (choices_.take<uint16_t>() & 07777u);
                in.rdev = choices_.byte() % 3u;
                in.umask = choices_.byte();
                add(in);
                add_name();
                break;
            }
            case FUSE_MKDIR: {
                fuse_mkdir_in in{};
                in.mode = choices_.take<uint16_t>();
                add(in);
                add_name();
                break;
            }
            case FUSE_RENAME:
                add(fuse_rename_in{node()});
                add_name();
                add_name();
                break;
            case FUSE_RENAME2: {
                fuse_rename2_in in{};
                in.newdir = node();
                in.flags = choices_.byte() % 8u;
                add(in);
                add_name();
                add_name();
                break;
            }
            case FUSE_LINK:
                add(fuse_link_in{node()});
                add_name();
                break;
            case FUSE_OPEN: {
                fuse_open_in in{};
                in.flags = open_flags();
                in.open_flags = choices_.byte() & 1u;
                add(in);
                break;
            }
            case FUSE_READ:
            case FUSE_READDIR:
            case FUSE_READDIRPLUS: {
                fuse_read_in in{};
                in.offset = number();
                in.size = small_number();
                add(in);
                break;
            }
            case FUSE_WRITE: {
                fuse_write_in in{};
                in.offset = number();
                in.write_flags = choices_.byte() & 7u;
                auto data = choices_.bytes(choices_.byte());
                in.size = static_cast<uint32_t>(data.size());
                if (choices_.one_in(16)) in.size = small_number();
                add(in);
                add_bytes(data);
                break;
            }
            case FUSE_RELEASE: {
                fuse_release_in in{};
                in.flags = open_flags();
                add(in);
                break;
            }
            case FUSE_FSYNC:
            case FUSE_FSYNCDIR: add(fuse_fsync_in{}); break;
            case FUSE_SETXATTR: {
                fuse_setxattr_in in{};
                in.flags = choices_.byte() % 3u;
                in.setxattr_flags = choices_.byte() & 1u;
                auto value = choices_.bytes(choices_.byte());
                in.size = static_cast<uint32_t>(value.size());
                if (choices_.one_in(16)) in.size = small_number();
                add(in);
                add_xattr_name();
                add_bytes(value);
                break;
            }
            case FUSE_GETXATTR:
            case FUSE_LISTXATTR: {
                fuse_getxattr_in in{};
                in.size = choices_.one_in(4) ? small_number() : 4096;
                add(in);
                if (opcode == FUSE_GETXATTR) add_xattr_name();
                break;
            }
            case FUSE_REMOVEXATTR: add_xattr_name(); break;
            case FUSE_CREATE:
            case kFuseTmpfile: {
                fuse_create_in in{};
                in.flags = open_flags();
                in.mode = choices_.take<uint16_t>();
                add(in);
                add_name();
                break;
            }
            case FUSE_FALLOCATE: {
                fuse_fallocate_in in{};
                in.offset = number();
                in.length = number();
                in.mode = choices_.one_in(8) ? choices_.take<uint32_t>() : choices_.byte() & 0x1fu;
                add(in);
                break;
            }
            case FUSE_LSEEK: {
                fuse_lseek_in in{};
                in.offset = number();
                in.whence = choices_.byte() % 6u;
                add(in);
                break;
            }
            case FUSE_COPY_FILE_RANGE: {
                fuse_copy_file_range_in in{};
                in.off_in = number();
                in.nodeid_out = node();
                in.off_out = number();
                in.len = number();
                add(in);
                break;
            }
            case FUSE_IOCTL: {
                fuse_ioctl_in in{};
                constexpr uint64_t kCommands[] = {FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR, 0};
                in.cmd = static_cast<uint32_t>(kCommands[choices_.pick(std::size(kCommands))]);
                add(in);
                add_bytes(choices_.bytes(choices_.byte() % 32u));
                break;
            }
            case FUSE_LOOKUP:
            case FUSE_UNLINK:
            case FUSE_RMDIR: add_name(); break;
            default: add_bytes(choices_.bytes(choices_.byte() % 64u)); break;
        }
    }

    void note(const Conversation::Reply& reply, uint32_t opcode) {
        if (reply.error == EIO) finding("EIO to " + std::string(find_opcode(opcode)->name) + ": the engine takes its own root for broken");
        if (reply.error != 0 || nodes_.size() > 200) return;
        switch (opcode) {
            case FUSE_LOOKUP:
            case FUSE_MKNOD:
            case FUSE_MKDIR:
            case FUSE_SYMLINK:
            case FUSE_LINK:
            case FUSE_CREATE:
            case kFuseTmpfile: {
                fuse_entry_out entry{};
                if (reply.body.size() < sizeof entry) finding("an entry that is too short");
                std::memcpy(&entry, reply.body.data(), sizeof entry);
                if (entry.nodeid != 0) nodes_.push_back(entry.nodeid);
                break;
            }
            default: break;
        }
    }

    void one() {
        const uint8_t what = choices_.byte();
        if (what < 2 * kOpcodes.size()) {
            const uint32_t opcode = kOpcodes[what / 2].opcode;
            const uint64_t nodeid = node();
            const uint32_t uid = choices_.byte() % 3u;
            arguments_.clear();
            put_arguments(opcode);
            last_ = Conversation::message(opcode, nodeid, kernel_->next_unique(), arguments_, uid);
            note(kernel_->send(last_), opcode);
            return;
        }
        switch (what % 8) {
            case 0: {  // the last message, cut or longer
                if (last_.size() <= sizeof(fuse_in_header)) break;
                auto message = last_;
                message.resize(choices_.one_in(2) ? message.size() + choices_.byte() : choices_.take<uint16_t>() % message.size() + 1);
                if (message.size() >= sizeof(fuse_in_header)) {
                    fuse_in_header header;
                    std::memcpy(&header, message.data(), sizeof header);
                    header.unique = kernel_->next_unique();
                    if (choices_.one_in(2)) header.len = static_cast<uint32_t>(message.size());
                    std::memcpy(message.data(), &header, sizeof header);
                }
                kernel_->send(message);
                break;
            }
            case 1: {  // anything
                auto bytes = choices_.bytes(1u + choices_.byte());
                if (!bytes.empty()) kernel_->send(bytes);
                break;
            }
            case 2:
            case 3: {  // the last message once more
                if (last_.size() < sizeof(fuse_in_header)) break;
                if (what % 8 == 3) replace_worker();
                fuse_in_header header;
                std::memcpy(&header, last_.data(), sizeof header);
                header.unique |= kUniqueResend;
                std::memcpy(last_.data(), &header, sizeof header);
                kernel_->send(last_);
                break;
            }
            case 4:
            case 5: replace_worker(); break;
            case 6: root_->drop_caches(); break;
            default:
                unmount(what % 16 == 7);
                mount();
                break;
        }
    }

    SmallStore& store_;
    Choices choices_;
    bool has_limits_ = false;
    UniqueFd memory_;
    std::optional<SharedState> state_;
    std::optional<Root> root_;
    std::optional<Conversation> kernel_;
    std::vector<uint64_t> nodes_;
    std::vector<std::byte> arguments_;
    std::vector<std::byte> last_;
};

}  // namespace

void fuzz_requests(Input input) {
    enter_scratch();
    static SmallStore& store = *new SmallStore;
    Requests(store, input).run();
}

}  // namespace templatefs::fuzz
