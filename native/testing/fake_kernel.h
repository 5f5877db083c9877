#pragma once
// The kernel's side of /dev/fuse for tests: a SOCK_SEQPACKET pair, where one packet is one message as on the device.
// It sends what Linux would send for each operation and holds the engine to the protocol: each request is answered
// exactly once, FORGET and INTERRUPT's own unique never, the length field is that of the message, errors are errno
// values and carry no payload. What breaks a rule is kept in faults(), which a test must find empty at its end.

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "wire/fuse_abi.h"

namespace templatefs::testing {

using Bytes = std::vector<std::byte>;

struct Answer {
    int error = 0;  // a positive errno, or 0
    Bytes body;
    bool ok() const { return error == 0; }
};

struct EntryAnswer {
    int error = 0;
    fuse_entry_out entry{};
    uint64_t nodeid() const { return entry.nodeid; }
};

struct AttrAnswer {
    int error = 0;
    fuse_attr attr{};
    fuse_attr_out whole{};
};

struct OpenAnswer {
    int error = 0;
    uint64_t fh = 0;
    uint32_t flags = 0;
    int32_t backing_id = 0;
};

struct CreateAnswer {
    int error = 0;
    fuse_entry_out entry{};
    OpenAnswer open;
    uint64_t nodeid() const { return entry.nodeid; }
};

struct TextAnswer {
    int error = 0;
    std::string text;
};

struct SizeAnswer {
    int error = 0;
    uint64_t size = 0;
};

struct DirRecord {
    std::string name;
    uint64_t ino = 0, offset = 0;
    uint32_t type = 0;
    std::optional<fuse_entry_out> entry;  // READDIRPLUS with a nodeid
};

struct DirAnswer {
    int error = 0;
    std::vector<DirRecord> records;
    // The records' names, sorted, without "." and "..".
    std::vector<std::string> names() const;
    const DirRecord* find(std::string_view name) const;
};

struct Caller {
    uint32_t uid = 0, gid = 0, pid = 1000;
};

class FakeKernel {
public:
    FakeKernel();
    ~FakeKernel();
    FakeKernel(const FakeKernel&) = delete;
    FakeKernel& operator=(const FakeKernel&) = delete;

    // The other end, which stands for an open /dev/fuse. Belongs to the kernel unless it is released.
    int engine_fd() const { return engine_fd_; }
    int release_engine_fd();
    // Ends the conversation: the engine's next read gives end of file.
    void hang_up();

    // ---- messages
    // Sends a request, header included, and returns its unique. `answered` says whether an answer is due.
    uint64_t send(uint32_t opcode, uint64_t nodeid, std::span<const std::byte> arguments, bool answered = true);
    // Sends bytes as they are. `unique` is what an answer would carry, if one is due.
    void send_raw(std::span<const std::byte> message, std::optional<uint64_t> unique);
    // Waits for the answer, at most 10 seconds. A missing answer is a fault and gives ETIMEDOUT.
    Answer wait(uint64_t unique);
    Answer call(uint32_t opcode, uint64_t nodeid, std::span<const std::byte> arguments = {});
    // A whole message with a header that can be made wrong.
    static Bytes message(const fuse_in_header& header, std::span<const std::byte> arguments);
    fuse_in_header next_header(uint32_t opcode, uint64_t nodeid, size_t argument_size);
    // What Linux does at FUSE_NOTIFY_RESEND: requests that were read and not answered are sent again, marked in the
    // top bit of `unique`. Those that still wait to be read stay as they are.
    void resend();
    // Is called again and again while an answer is awaited.
    std::function<void()> while_waiting;
    // Reads whatever comes within `ms`, so that late second answers are noticed.
    void settle(int ms = 20);
    // True when the engine has closed its end or is gone.
    bool engine_hung_up() const { return engine_hung_up_; }

    std::vector<std::string>& faults() { return faults_; }
    // The faults in one text, for a CHECK against "".
    std::string fault_text() const;
    size_t unanswered() const { return due_.size(); }
    // Notifications, as code (FUSE_NOTIFY_…) and body.
    std::vector<std::pair<int, Bytes>>& notifications() { return notifications_; }

    // ---- requests as Linux makes them
    // Offers what Linux 6.18 offers. Returns the flags that were agreed on; 0 when INIT fails.
    uint64_t init(uint64_t offered = UINT64_MAX);
    uint64_t agreed() const { return agreed_; }
    const InitOut& init_out() const { return init_out_; }

    void act_as(Caller caller) { caller_ = caller; }

    EntryAnswer lookup(uint64_t parent, std::string_view name);
    AttrAnswer getattr(uint64_t nodeid, std::optional<uint64_t> fh = {});
    AttrAnswer setattr(uint64_t nodeid, const fuse_setattr_in& change);
    AttrAnswer chmod(uint64_t nodeid, uint32_t mode);
    AttrAnswer chown(uint64_t nodeid, uint32_t uid, uint32_t gid);
    AttrAnswer truncate(uint64_t nodeid, uint64_t size, std::optional<uint64_t> fh = {});
    AttrAnswer utimes(uint64_t nodeid, int64_t atime, int64_t mtime);
    TextAnswer readlink(uint64_t nodeid);
    EntryAnswer symlink(uint64_t parent, std::string_view name, std::string_view target);
    EntryAnswer mknod(uint64_t parent, std::string_view name, uint32_t mode, uint32_t rdev = 0, uint32_t umask = 0);
    EntryAnswer mkdir(uint64_t parent, std::string_view name, uint32_t mode = 0755, uint32_t umask = 0);
    int unlink(uint64_t parent, std::string_view name);
    int rmdir(uint64_t parent, std::string_view name);
    // RENAME without flags, else RENAME2, as Linux does.
    int rename(uint64_t from, std::string_view old_name, uint64_t to, std::string_view new_name, uint32_t flags = 0);
    EntryAnswer link(uint64_t nodeid, uint64_t parent, std::string_view name);
    OpenAnswer open(uint64_t nodeid, uint32_t flags);
    CreateAnswer create(uint64_t parent, std::string_view name, uint32_t mode = 0644, uint32_t flags = 02 /* O_RDWR */,
                        uint32_t umask = 0);
    CreateAnswer tmpfile(uint64_t parent, uint32_t mode = 0600, uint32_t flags = 02);
    TextAnswer read(uint64_t nodeid, uint64_t fh, uint64_t offset, uint32_t size);
    SizeAnswer write(uint64_t nodeid, uint64_t fh, uint64_t offset, std::string_view data);
    int release(uint64_t nodeid, uint64_t fh, uint32_t flags);
    int flush(uint64_t nodeid, uint64_t fh);
    int fsync(uint64_t nodeid, uint64_t fh, bool data_only = false);
    int fsyncdir(uint64_t nodeid);
    Answer statfs(uint64_t nodeid = 1);
    int setxattr(uint64_t nodeid, std::string_view name, std::string_view value, uint32_t flags = 0);
    // The value by one request with a large buffer.
    TextAnswer getxattr(uint64_t nodeid, std::string_view name, uint32_t size = 65536);
    SizeAnswer getxattr_size(uint64_t nodeid, std::string_view name);
    // The names, each with its NUL.
    TextAnswer listxattr(uint64_t nodeid, uint32_t size = 65536);
    SizeAnswer listxattr_size(uint64_t nodeid);
    int removexattr(uint64_t nodeid, std::string_view name);
    // One request at `offset`.
    DirAnswer readdir_part(uint64_t nodeid, uint64_t offset, uint32_t size, bool plus);
    // The whole folder, in requests of `size` bytes each.
    DirAnswer readdir(uint64_t nodeid, bool plus = true, uint32_t size = 4096);
    int fallocate(uint64_t nodeid, uint64_t fh, uint32_t mode, uint64_t offset, uint64_t length);
    SizeAnswer lseek(uint64_t nodeid, uint64_t fh, uint64_t offset, uint32_t whence);
    SizeAnswer copy_file_range(uint64_t nodeid_in, uint64_t fh_in, uint64_t off_in, uint64_t nodeid_out, uint64_t fh_out,
                               uint64_t off_out, uint64_t length);
    int syncfs();
    void forget(uint64_t nodeid, uint64_t count);
    void batch_forget(std::span<const fuse_forget_one> nodes);
    void interrupt(uint64_t unique);

    // How often the engine has told of each node since INIT, less what was forgotten.
    const std::map<uint64_t, uint64_t>& lookups() const { return lookups_; }
    // Forgets everything but the root, as the kernel does under memory pressure.
    void forget_all();

    // ---- whole files and paths, for tests that are not about the protocol
    // Looks up each component from the root.
    EntryAnswer walk(std::string_view path);
    // open, read to the end, release. Repeats an open that was answered ESTALE once, by path, as the kernel does.
    TextAnswer read_file(std::string_view path);
    // Opens with `flags` (which must write), writes at `offset`, releases.
    int write_file(std::string_view path, std::string_view data, uint64_t offset = 0, uint32_t flags = 01 /* O_WRONLY */);

private:
    template <class T>
    static void append(Bytes& bytes, const T& value) {
        size_t at = bytes.size();
        bytes.resize(at + sizeof value);
        std::memcpy(bytes.data() + at, &value, sizeof value);
    }
    static void append_name(Bytes& bytes, std::string_view name);
    template <class Out>
    Out take(const Answer& answer, size_t at = 0) {
        Out out{};
        if (answer.error != 0) return out;
        if (answer.body.size() < at + sizeof out) {
            fault("an answer of " + std::to_string(answer.body.size()) + " bytes is too short");
            return out;
        }
        std::memcpy(&out, answer.body.data() + at, sizeof out);
        return out;
    }
    void receive_one(int timeout_ms);
    bool wait_readable(int timeout_ms) const;
    EntryAnswer entry_answer(const Answer& answer);
    CreateAnswer create_answer(const Answer& answer);
    AttrAnswer attr_answer(const Answer& answer);
    SizeAnswer xattr_size(uint32_t opcode, uint64_t nodeid, std::string_view name);
    void learn(const fuse_entry_out& entry);
    void fault(const std::string& text) { faults_.push_back(text); }

    int kernel_fd_ = -1, engine_fd_ = -1;
    bool engine_fd_released_ = false;
    bool engine_hung_up_ = false;
    uint64_t next_unique_ = 2;  // Linux counts by 2: odd ones are for INTERRUPT
    std::map<uint64_t, uint32_t> due_;        // unique → opcode
    std::map<uint64_t, Bytes> sent_;          // the messages of those that are due
    std::set<uint64_t> resent_;
    std::map<uint64_t, Answer> arrived_;
    std::set<uint64_t> done_;
    std::vector<std::pair<int, Bytes>> notifications_;
    std::vector<std::string> faults_;
    std::map<uint64_t, uint64_t> lookups_;
    Bytes buffer_;
    Caller caller_;
    uint64_t agreed_ = 0;
    InitOut init_out_{};
};

}  // namespace templatefs::testing
