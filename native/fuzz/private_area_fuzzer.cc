// A private area as no engine leaves one: any node xattrs on any entries, any settings, counters and leftovers. It is served,
// listed, changed and scanned. A broken one is refused or gives errors; nothing else is touched.

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fuzz/scratch.h"
#include "private/settings.h"
#include "tools/scan.h"

namespace templatefs::fuzz {
namespace {

constexpr size_t kMostEntries = 24;
const char* const kFolders[] = {"root", "root/etc", "root/usr", "root/new", "root/deep", "root/deep/a", "inodes", "staging"};
const char* const kNames[] = {"conf", "new", "usr", "etc", "a", "deep", "leaf", "hard", "large", "var", "00000004", "10000000", "0000000b", "x"};

// A node xattr whose fields are mostly such as could be right.
std::vector<std::byte> node_xattr(Choices& choices) {
    if (choices.one_in(4)) {
        auto raw = choices.bytes(choices.byte() % 64u);
        return {raw.begin(), raw.end()};
    }
    NodeInfo info;
    info.kind = static_cast<NodeInfo::Kind>(choices.pick(3));
    info.indexed = choices.one_in(2);
    info.tree_links = choices.byte() % 4u;
    info.ino = choices.one_in(8) ? choices.take<uint64_t>() : choices.one_in(2) ? kFirstPrivateIno + choices.byte() % 4u : choices.byte() % 20u;
    if (choices.one_in(2)) info.origin = choices.one_in(8) ? choices.take<uint32_t>() : choices.byte() % 20u;
    if (info.has_object()) {
        info.object.hash = testing::object_hash((choices.byte() % 6u + 1) * 0x01010101u);
        info.object.variant = choices.one_in(8) ? choices.byte() : 0;
        info.object.size = choices.one_in(8) ? choices.take<uint64_t>() : choices.take<uint16_t>();
    }
    const EncodedNodeInfo encoded = encode(info);
    return {encoded.view().begin(), encoded.view().end()};
}

void make_entry(int area, Choices& choices) {
    const std::string path = std::string(kFolders[choices.pick(std::size(kFolders))]) + "/" + kNames[choices.pick(std::size(kNames))];
    const char* name = path.c_str();
    switch (choices.pick(8)) {
        case 0:
        case 1:
        case 2: ::mkdirat(area, name, 0755); break;
        case 3:
        case 4: {
            UniqueFd fd(::openat(area, name, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644));
            if (fd.valid()) (void)!::ftruncate(fd.get(), choices.take<uint16_t>());
            break;
        }
        case 5: ::mknodat(area, name, S_IFCHR, 0); break;
        case 6: ::symlinkat(choices.one_in(2) ? "/outside" : "conf", area, name); break;
        default: {
            const std::string from = std::string(kFolders[choices.pick(std::size(kFolders))]) + "/" + kNames[choices.pick(std::size(kNames))];
            ::linkat(area, from.c_str(), area, name, 0);
            break;
        }
    }
    if (choices.one_in(4)) return;
    const auto value = node_xattr(choices);
    (void)host_setxattr({area, name}, kNodeXattr, value, 0).ok();
}

void change(Conversation& kernel, Choices& choices) {
    std::vector<std::byte> arguments;
    const auto add = [&](const void* data, size_t size) {
        const auto* bytes = static_cast<const std::byte*>(data);
        arguments.insert(arguments.end(), bytes, bytes + size);
    };
    const auto add_name = [&] {
        const char* name = kNames[choices.pick(std::size(kNames))];
        add(name, std::strlen(name) + 1);
    };
    const auto node = [&] { return choices.one_in(3) ? kFirstOwnNodeid + choices.byte() % 16u : 1 + choices.byte() % 20u; };
    const uint64_t at = node();
    switch (choices.pick(8)) {
        case 0:
            add_name();
            kernel.request(FUSE_UNLINK, at, arguments);
            break;
        case 1:
            add_name();
            kernel.request(FUSE_RMDIR, at, arguments);
            break;
        case 2: {
            fuse_rename2_in in{};
            in.newdir = node();
            in.flags = choices.byte() % 3u;
            add(&in, sizeof in);
            add_name();
            add_name();
            kernel.request(FUSE_RENAME2, at, arguments);
            break;
        }
        case 3: {
            fuse_link_in in{node()};
            add(&in, sizeof in);
            add_name();
            kernel.request(FUSE_LINK, at, arguments);
            break;
        }
        case 4: {
            fuse_open_in in{};
            in.flags = choices.one_in(2) ? O_RDWR : O_RDONLY;
            add(&in, sizeof in);
            kernel.request(FUSE_OPEN, at, arguments);
            break;
        }
        case 5: {
            fuse_setattr_in in{};
            in.valid = choices.one_in(2) ? FATTR_SIZE : FATTR_MODE;
            in.size = choices.take<uint16_t>();
            in.mode = 0600;
            add(&in, sizeof in);
            kernel.request(FUSE_SETATTR, at, arguments);
            break;
        }
        case 6: {
            fuse_mkdir_in in{};
            add(&in, sizeof in);
            add_name();
            kernel.request(FUSE_MKDIR, at, arguments);
            break;
        }
        default: {
            fuse_forget_in in{choices.byte()};
            kernel.request(FUSE_FORGET, at, std::as_bytes(std::span(&in, 1)));
            break;
        }
    }
}

void serve(SmallStore& store, Choices& choices) {
    auto area = PrivateArea::open(store.store().folder().fd(), "c1");
    if (!area.ok()) return;
    Root::Parts parts = store.parts();
    UniqueFd memory = new_state();
    SharedState state = SharedState::attach(memory.get()).take();
    Root root(std::move(parts), state);
    if (!root.recover().ok()) return;
    Conversation kernel(root);
    kernel.init();
    (void)walk_root(kernel, 60);
    for (int i = 0; i < 12 && !choices.done(); i++) change(kernel, choices);
    (void)walk_root(kernel, 60);
    root.finish();
}

void scan(const SmallStore& store) {
    static const int null = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    UniqueFd output(::dup(1));
    UniqueFd errors(::dup(2));
    ::dup2(null, 1);
    ::dup2(null, 2);
    std::string path = store.store().folder().path();
    char verb[] = "--store", container[] = "--container", name[] = "c1";
    char* arguments[] = {verb, path.data(), container, name, nullptr};
    (void)run_scan(4, arguments);
    std::fflush(stdout);
    ::dup2(output.get(), 1);
    ::dup2(errors.get(), 2);
}

}  // namespace

void fuzz_private_area(Input input) {
    enter_scratch();
    static SmallStore& store = *new SmallStore;
    Choices choices(input);
    if (choices.one_in(8)) {
        // Only the texts.
        const std::string_view text = choices.text(choices.take<uint16_t>());
        (void)parse_settings(text).ok();
        (void)unescape_value(text).ok();
        (void)decode_node_info(std::as_bytes(std::span(text))).ok();
        if (auto plain = unescape_value(escape_value(text)); !plain.ok() || plain.value() != text) finding("an escaped value comes back as another");
        return;
    }
    store.reset(choices.one_in(4) ? std::string(choices.text(choices.byte())) : choices.one_in(4) ? "quota-size 65536\nquota-inodes 24\n" : "");
    UniqueFd area(::openat(store.store().folder().fd(), "private/c1", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    for (const char* folder : {"root", "inodes", "staging"}) ::mkdirat(area.get(), folder, 0700);
    if (choices.one_in(4)) store.store().folder().write(store.store().in_area("inos"), std::string(choices.text(choices.byte())), 0600);
    if (choices.one_in(4)) store.store().folder().write(store.store().in_area("usage"), std::string(choices.text(choices.byte())), 0600);
    if (choices.one_in(4)) {
        const auto value = node_xattr(choices);
        (void)host_setxattr({area.get(), "root"}, kNodeXattr, value, 0).ok();
    }
    const size_t entries = choices.pick(kMostEntries);
    for (size_t i = 0; i < entries && !choices.done(); i++) make_entry(area.get(), choices);
    scan(store);
    serve(store, choices);
    store.check_untouched();
}

}  // namespace templatefs::fuzz
