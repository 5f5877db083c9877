#pragma once
#include <memory>
#include <string>
#include <vector>

#include "fuzz/harness.h"
#include "inode/root.h"
#include "session/session.h"
#include "testing/test_store.h"

namespace templatefs::fuzz {

// Once for each process: a mount namespace with a small tmpfs of its own as TMPDIR, which is gone with the process, and
// limits that keep a hostile size from filling the host's memory. Ends the process where that cannot be had.
void enter_scratch();

// The memory of a new engine's state.
UniqueFd new_state();

// A store on it with a small tree that has something of everything, and one container.
class SmallStore {
public:
    SmallStore();

    // An untouched private area, with these lines in its settings.
    void reset(const std::string& settings = {});
    Root::Parts parts();
    uint32_t node_count() const { return node_count_; }
    const testing::TestStore& store() const { return store_; }
    // Ends the process if an object or anything beside the private area was changed.
    void check_untouched() const;

private:
    std::string all_names() const;

    testing::TestStore store_;
    uint32_t node_count_ = 0;
    std::string objects_;
    std::string names_;
    std::string settings_;
};

// The kernel's side of one session, in one thread: a request goes in, its answer comes out.
class Conversation {
public:
    explicit Conversation(Root& root);
    ~Conversation();
    Conversation(const Conversation&) = delete;
    Conversation& operator=(const Conversation&) = delete;

    struct Reply {
        bool came = false;
        int error = 0;  // a positive errno
        std::vector<std::byte> body;
    };

    // Sends one message as it is. Ends the process when the answer breaks a rule of the protocol.
    Reply send(Input message);
    Reply request(uint32_t opcode, uint64_t nodeid, Input arguments, uint32_t uid = 0);
    void init();

    static std::vector<std::byte> message(uint32_t opcode, uint64_t nodeid, uint64_t unique, Input arguments, uint32_t uid = 0);
    uint64_t next_unique() { return unique_ += 2; }

private:
    Root& root_;
    std::unique_ptr<Session> session_;
    uint64_t unique_ = 0;
};

// Looks at everything that shows in a root: each folder is listed, each entry looked up, each file read, at most `limit`
// of them. Returns the first error of the kind that says that something is broken (EIO), else 0.
int walk_root(Conversation& kernel, size_t limit);

}  // namespace templatefs::fuzz
