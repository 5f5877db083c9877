#include "fuzz/scratch.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <filesystem>

#include "wire/opcodes.h"

namespace templatefs::fuzz {
namespace {

constexpr rlim_t kLargestFile = 8 << 20;

[[noreturn]] void give_up(const char* what) {
    std::perror(what);
    std::fprintf(stderr, "fuzzers need root, and tmpfs\n");
    std::_Exit(2);
}

void limit_files(rlim_t size) {
    const rlimit files{size, RLIM_INFINITY};
    if (::setrlimit(RLIMIT_FSIZE, &files) < 0) give_up("setrlimit");
}

void append_names(std::string& text, const std::filesystem::path& folder, const std::filesystem::path& without) {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    for (const auto& name : names) {
        const auto path = folder / name;
        text += path.string() + "\n";
        if (path != without && std::filesystem::is_directory(std::filesystem::symlink_status(path)))
            append_names(text, path, without);
    }
}

}  // namespace

void finding(const std::string& what) {
    std::fprintf(stderr, "finding: %s\n", what.c_str());
    std::abort();
}

void enter_scratch() {
    static bool entered = false;
    if (entered) return;
    entered = true;
    ::signal(SIGPIPE, SIG_IGN);
    ::signal(SIGXFSZ, SIG_IGN);
    limit_files(kLargestFile);
    if (::unshare(CLONE_NEWNS) < 0) give_up("unshare");
    if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0) give_up("private mounts");
    // Over a folder that nothing here needs, so that no mount point has to be made and removed.
    if (::mount("templatefs-fuzz", "/mnt", "tmpfs", 0, "size=64m,nr_inodes=20000") < 0) give_up("tmpfs");
    ::setenv("TMPDIR", "/mnt", 1);
}

UniqueFd new_state() {
    // The engine's state is a file, too, and a large one as far as its size says.
    limit_files(RLIM_INFINITY);
    auto state = SharedState::create();
    limit_files(kLargestFile);
    if (!state.ok()) give_up("memfd");
    return state.take();
}

SmallStore::SmallStore() {
    testing::TreeBuilder tree;
    tree.root({.mode = 0755});
    for (const char* path : {"/usr", "/usr/bin", "/etc", "/var", "/deep", "/deep/a", "/deep/a/b", "/empty"}) tree.folder(path);
    store_.add_file(tree, "/usr/bin/tool", std::string(5000, 't'), {.mode = 04755});
    store_.add_file(tree, "/usr/small", "small");
    store_.add_file(tree, "/etc/conf", "conf=1\n", {.uid = 1, .gid = 2, .xattrs = {{"security.s", "x"}, {"user.a", "1"}}});
    store_.add_file(tree, "/etc/nothing", "");
    store_.add_file(tree, "/var/large", std::string(20000, 'l'));
    store_.add_file(tree, "/deep/a/b/leaf", "leaf");
    tree.hard_link("/deep/hard", "/deep/a/b/leaf");
    tree.hard_link("/etc/hard", "/deep/a/b/leaf");
    tree.symlink("/etc/link", "conf");
    tree.special("/var/fifo", S_IFIFO);
    tree.special("/var/null", S_IFCHR, {.rdev = 0x103});
    store_.finish(tree, {"/usr"});
    settings_ = store_.folder().read(store_.in_area("container"));
    store_.folder().write("outside", std::string("outside"));
    auto image = parts();
    node_count_ = image.tree.node_count();
    objects_ = store_.all_objects();
    names_ = all_names();
}

void SmallStore::reset(const std::string& settings) {
    UniqueFd area(::openat(store_.folder().fd(), "private/c1", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!area.valid() || !remove_content(area.get()).ok()) give_up("private area");
    store_.folder().write(store_.in_area("container"), settings_ + settings, 0600);
}

Root::Parts SmallStore::parts() {
    Root::Parts parts = store_.parts();
    parts.whole_copy_limit = 8192;
    return parts;
}

std::string SmallStore::all_names() const {
    std::string text;
    append_names(text, store_.folder().path(), std::filesystem::path(store_.folder().path()) / "private/c1");
    return text;
}

void SmallStore::check_untouched() const {
    if (store_.all_objects() != objects_) finding("an object was changed");
    if (store_.folder().read("outside") != "outside") finding("a file outside the private area was changed");
    if (all_names() != names_) finding("something was made or removed outside the private area");
}

Conversation::Conversation(Root& root)
    : root_(root), session_(std::make_unique<Session>(root, -1, SessionOptions{.passthrough = false})) {}

Conversation::~Conversation() = default;

std::vector<std::byte> Conversation::message(uint32_t opcode, uint64_t nodeid, uint64_t unique, Input arguments, uint32_t uid) {
    fuse_in_header header{};
    header.len = static_cast<uint32_t>(sizeof header + arguments.size());
    header.opcode = opcode;
    header.unique = unique;
    header.nodeid = nodeid;
    header.uid = uid;
    header.gid = uid;
    std::vector<std::byte> bytes(header.len);
    std::memcpy(bytes.data(), &header, sizeof header);
    if (!arguments.empty()) std::memcpy(bytes.data() + sizeof header, arguments.data(), arguments.size());
    return bytes;
}

Conversation::Reply Conversation::send(Input message) {
    fuse_in_header header{};
    if (message.size() >= sizeof header) std::memcpy(&header, message.data(), sizeof header);
    // A copy of exactly that size, so that the sanitizer sees a read beyond its end.
    const std::vector<std::byte> exact(message.begin(), message.end());
    const auto answer = session_->serve(exact);
    Reply reply;
    const OpcodeInfo* info = find_opcode(header.opcode);
    const bool due = message.size() >= sizeof header && (info == nullptr || info->answered);
    if (answer.empty() == due) finding((due ? "no answer to opcode " : "an answer to opcode ") + std::to_string(header.opcode));
    if (due) {
        fuse_out_header out{};
        if (answer.size() < sizeof out) finding("an answer without a header");
        std::memcpy(&out, answer.data(), sizeof out);
        if (out.len != answer.size()) finding("an answer with a wrong length");
        if (out.unique != header.unique) finding("an answer to another request");
        // fuse_dev_do_write() refuses everything else.
        if (out.error > 0 || out.error <= -512) finding("an answer with error " + std::to_string(out.error));
        if (out.error != 0 && out.len != sizeof out) finding("an error with a body");
        reply.came = true;
        reply.error = -out.error;
        reply.body.assign(answer.begin() + sizeof out, answer.end());
    }
    root_.nodes().reclaim();
    return reply;
}

Conversation::Reply Conversation::request(uint32_t opcode, uint64_t nodeid, Input arguments, uint32_t uid) {
    return send(message(opcode, nodeid, next_unique(), arguments, uid));
}

void Conversation::init() {
    fuse_init_in in{};
    in.major = FUSE_KERNEL_VERSION;
    in.minor = 45;
    in.flags = UINT32_MAX;
    in.flags2 = UINT32_MAX;
    if (request(FUSE_INIT, 0, std::as_bytes(std::span(&in, 1))).error != 0) finding("INIT failed");
}

int walk_root(Conversation& kernel, size_t limit) {
    std::deque<uint64_t> folders{kRootNodeid};
    size_t seen = 0;
    while (!folders.empty() && seen < limit) {
        const uint64_t folder = folders.front();
        folders.pop_front();
        for (uint64_t offset = 0; seen < limit;) {
            fuse_read_in in{};
            in.offset = offset;
            in.size = 4096;
            auto listed = kernel.request(FUSE_READDIRPLUS, folder, std::as_bytes(std::span(&in, 1)));
            if (listed.error == EIO) return EIO;
            if (listed.error != 0 || listed.body.empty()) break;
            for (Input rest = listed.body; rest.size() >= sizeof(fuse_entry_out) + FUSE_NAME_OFFSET;) {
                fuse_entry_out entry;
                fuse_dirent record;
                std::memcpy(&entry, rest.data(), sizeof entry);
                std::memcpy(&record, rest.data() + sizeof entry, FUSE_NAME_OFFSET);
                const size_t size = sizeof entry + FUSE_NAME_OFFSET + record.namelen;
                if (size > rest.size()) finding("a listing that is cut short");
                std::string name(reinterpret_cast<const char*>(rest.data()) + sizeof entry + FUSE_NAME_OFFSET, record.namelen);
                rest = rest.subspan(std::min(rest.size(), (size + 7) & ~size_t{7}));
                offset = record.off;
                if (name == "." || name == "..") continue;
                seen++;
                auto found = kernel.request(FUSE_LOOKUP, folder, std::as_bytes(std::span(name.c_str(), name.size() + 1)));
                if (found.error == EIO) return EIO;
                if (found.error != 0 || found.body.size() < sizeof entry) continue;
                std::memcpy(&entry, found.body.data(), sizeof entry);
                if (entry.nodeid == 0) continue;
                fuse_getxattr_in xattrs{};
                xattrs.size = 4096;
                if (kernel.request(FUSE_LISTXATTR, entry.nodeid, std::as_bytes(std::span(&xattrs, 1))).error == EIO) return EIO;
                if (S_ISDIR(entry.attr.mode)) folders.push_back(entry.nodeid);
                if (S_ISLNK(entry.attr.mode) && kernel.request(FUSE_READLINK, entry.nodeid, {}).error == EIO) return EIO;
                if (!S_ISREG(entry.attr.mode)) continue;
                fuse_read_in read{};
                read.size = 32768;
                if (kernel.request(FUSE_READ, entry.nodeid, std::as_bytes(std::span(&read, 1))).error == EIO) return EIO;
            }
        }
    }
    return 0;
}

}  // namespace templatefs::fuzz
