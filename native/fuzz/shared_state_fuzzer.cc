// The state that outlives a worker, changed anywhere after a fixed row of requests, as a broken engine or memory could leave
// it. The next worker either refuses it (EUCLEAN) or serves, perhaps with errors; it never reads or writes beside it, and
// changes nothing but the private area.

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz/scratch.h"

namespace templatefs::fuzz {
namespace {

class Requests {
public:
    explicit Requests(Conversation& kernel) : kernel_(kernel) {}

    template <class T>
    uint64_t made(uint32_t opcode, uint64_t nodeid, const T& in, const char* name, const char* second = nullptr) {
        std::vector<std::byte> arguments(sizeof in);
        std::memcpy(arguments.data(), &in, sizeof in);
        for (const char* text : {name, second}) {
            if (text == nullptr) continue;
            const auto bytes = std::as_bytes(std::span(text, std::strlen(text) + 1));
            arguments.insert(arguments.end(), bytes.begin(), bytes.end());
        }
        auto reply = kernel_.request(opcode, nodeid, arguments);
        fuse_entry_out entry{};
        if (reply.error != 0 || reply.body.size() < sizeof entry) return 1;
        std::memcpy(&entry, reply.body.data(), sizeof entry);
        return entry.nodeid;
    }

    // Folders and files of all kinds, renamed, linked, open, and open without a name.
    void fixed_row() {
        const uint64_t folder = made(FUSE_MKDIR, 1, fuse_mkdir_in{0755, 0}, "new");
        const uint64_t inner = made(FUSE_MKDIR, folder, fuse_mkdir_in{0755, 0}, "inner");
        const uint64_t file = made(FUSE_MKNOD, inner, fuse_mknod_in{0100644, 0, 0, 0}, "file");
        made(FUSE_LINK, folder, fuse_link_in{file}, "second");
        fuse_create_in create{};
        create.flags = O_RDWR;
        create.mode = 0600;
        const uint64_t open = made(FUSE_CREATE, folder, create, "open");
        const uint64_t gone = made(FUSE_CREATE, folder, create, "gone");
        (void)open;
        (void)gone;
        kernel_.request(FUSE_UNLINK, folder, std::as_bytes(std::span("gone", 5)));
        for (uint64_t nodeid = 2; nodeid < 14; nodeid += 2) {
            fuse_setattr_in change{};
            change.valid = FATTR_MODE;
            change.mode = 0755;
            kernel_.request(FUSE_SETATTR, nodeid, std::as_bytes(std::span(&change, 1)));
        }
        fuse_rename2_in rename{};
        rename.newdir = folder;
        made(FUSE_RENAME2, 1, rename, "etc", "moved");
    }

private:
    Conversation& kernel_;
};

void serve(SmallStore& store, int memory, Choices& choices) {
    auto attached = SharedState::attach(memory);
    if (!attached.ok()) {
        if (attached.error_code() != EUCLEAN) finding("refused with errno " + std::to_string(attached.error_code()));
        return;
    }
    SharedState state = attached.take();
    Root root(store.parts(), state);
    if (!root.settle().ok()) return;
    if (state.header().initialized == 0) return;
    Conversation kernel(root);
    (void)walk_root(kernel, 60);
    Requests requests(kernel);
    if (choices.one_in(2)) requests.fixed_row();
    for (int i = 0; i < 8; i++) {
        const uint64_t nodeid = choices.one_in(2) ? kFirstOwnNodeid + choices.byte() % 16u : 1 + choices.byte() % 20u;
        fuse_forget_in forget{choices.byte()};
        if (choices.one_in(3)) kernel.request(FUSE_FORGET, nodeid, std::as_bytes(std::span(&forget, 1)));
        fuse_release_in release{};
        if (choices.one_in(3)) kernel.request(FUSE_RELEASE, nodeid, std::as_bytes(std::span(&release, 1)));
    }
    (void)walk_root(kernel, 60);
}

}  // namespace

void fuzz_shared_state(Input input) {
    enter_scratch();
    static SmallStore& store = *new SmallStore;
    Choices choices(input);
    store.reset(choices.one_in(4) ? "quota-size 65536\nquota-inodes 64\n" : "");
    UniqueFd memory = new_state();
    {
        SharedState state = SharedState::attach(memory.get()).take();
        Root root(store.parts(), state);
        if (!root.recover().ok()) finding("cannot mount");
        Conversation kernel(root);
        kernel.init();
        Requests(kernel).fixed_row();
        StateHeader& header = state.header();
        // Where things are, before that is changed, too.
        const struct {
            HashTable by_nodeid, by_ino;
            Offset nodes, blocks, brk;
            uint32_t slot_count;
        } h{header.by_nodeid, header.by_ino, *state.at<Offset>(header.slots), header.slots + kMaxChunks * sizeof(Offset), header.brk,
            header.slot_count};
        const size_t changes = choices.pick(6) + 1;
        for (size_t i = 0; i < changes && !choices.done(); i++) {
            uint64_t at = 0;
            switch (choices.pick(6)) {
                case 0: at = choices.take<uint16_t>() % offsetof(StateHeader, answer); break;
                case 1: {  // a field of a node
                    const Slot slot = choices.byte() % std::max(h.slot_count, 1U);
                    at = h.nodes + slot % kChunkNodes * sizeof(Node) + choices.pick(sizeof(Node));
                    break;
                }
                case 2: at = h.by_nodeid.buckets + choices.take<uint16_t>() % (h.by_nodeid.capacity * 4); break;
                case 3: at = h.by_ino.buckets + choices.take<uint16_t>() % (h.by_ino.capacity * 4); break;
                case 4: {  // the undo log
                    header.undo_count = choices.byte() % 4u;
                    at = offsetof(StateHeader, undo) + choices.byte() % 64u;
                    header.answer_unique = 0;
                    break;
                }
                default:  // what was allocated
                    at = h.blocks + choices.take<uint32_t>() % (h.brk - h.blocks);
                    break;
            }
            constexpr uint64_t kValues[] = {0, 1, 2, 5, 1ULL << 48, (1ULL << 48) + 1, 1ULL << 33, UINT64_MAX, 1ULL << 28};
            uint64_t value = choices.one_in(2) ? kValues[choices.pick(std::size(kValues))] : choices.take<uint64_t>();
            const size_t sizes[] = {1, 2, 4, 8};
            const size_t size = sizes[choices.pick(4)];
            if (at % size != 0) at -= at % size;
            std::memcpy(state.at<std::byte>(at), &value, size);
        }
    }
    serve(store, memory.get(), choices);
    store.check_untouched();
}

}  // namespace templatefs::fuzz
