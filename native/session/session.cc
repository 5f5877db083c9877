#include "session/session.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "session/deadly_request.h"
#include "wire/opcodes.h"

namespace templatefs {
namespace {

constexpr uint32_t kMaxPages = 256;
constexpr uint32_t kMaxWrite = kMaxPages * 4096;
constexpr size_t kBufferSize = kMaxWrite + 8192;

// What the engine asks of the kernel; docs/architecture.md tells why of each. Left out on purpose: WRITEBACK_CACHE (excludes
// passthrough), POSIX_LOCKS and FLOCK_LOCKS (the kernel's own locks survive a worker), NO_OPEN_SUPPORT (gives
// up passthrough), AUTO_INVAL_DATA (only the engine changes files), READDIRPLUS_AUTO (a `find` lists a large folder whole
// before it looks at entries, so the kernel would take it for one that does not, and send a LOOKUP for each: 6,992 requests
// instead of 4,391 for a cold walk of a Debian root).
constexpr uint64_t kWanted = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_ATOMIC_O_TRUNC | FUSE_DONT_MASK | FUSE_DO_READDIRPLUS |
                             FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES | FUSE_CACHE_SYMLINKS | FUSE_NO_OPENDIR_SUPPORT |
                             FUSE_POSIX_ACL | FUSE_HANDLE_KILLPRIV_V2 | FUSE_SETXATTR_EXT | FUSE_INIT_EXT | FUSE_HAS_RESEND |
                             FUSE_ALLOW_IDMAP;

constexpr size_t kPage = 4096;
// Two names and the headers around them fit.
constexpr size_t kSmallRequest = 2 * kPage;

// Anonymous memory: pages of a buffer cost nothing before a large request touches them. What was touched stays (see
// Session::hold_input()), if the limit on locked memory allows it.
std::span<std::byte> allocate_buffer() {
    void* memory = ::mmap(nullptr, kBufferSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    (void)::mlock2(memory, kBufferSize, MLOCK_ONFAULT);
    return {static_cast<std::byte*>(memory), kBufferSize};
}

bool gives_reference(uint32_t opcode) {
    switch (opcode) {
        case FUSE_LOOKUP:
        case FUSE_MKNOD:
        case FUSE_MKDIR:
        case FUSE_SYMLINK:
        case FUSE_LINK:
        case FUSE_CREATE:
        case kFuseTmpfile:
            return true;
        default:
            return false;
    }
}

// Whether the answer opens a file whose data will come in WRITE requests.
bool lets_data_come(uint32_t opcode, ArgumentReader arguments, std::span<const std::byte> answer) {
    if (opcode != FUSE_OPEN && opcode != FUSE_CREATE && opcode != kFuseTmpfile) return false;
    if (answer.size() < sizeof(fuse_out_header) + sizeof(OpenOut)) return false;
    // Of all three the request begins with the flags, and the answer ends with how the file is open.
    auto flags = arguments.take<uint32_t>();
    if (!flags.ok() || (flags.value() & O_ACCMODE) == O_RDONLY) return false;
    OpenOut opened;
    std::memcpy(&opened, answer.data() + answer.size() - sizeof opened, sizeof opened);
    return (opened.open_flags & FOPEN_PASSTHROUGH) == 0;
}

}  // namespace

Session::Session(Root& root, int device, SessionOptions options)
    : root_(root),
      device_(device),
      options_(options),
      input_(allocate_buffer()),
      output_(allocate_buffer()),
      reply_(output_) {
    // A worker that follows a dead one may find requests of any size at once.
    hold_input(initialized() ? input_.size() : kSmallRequest);
}

void Session::hold_input(size_t size) {
    for (; held_ < size; held_ += kPage) {
        volatile std::byte* page = input_.data() + held_;
        *page = std::byte{0};
    }
}

Session::~Session() {
    ::munmap(input_.data(), input_.size());
    ::munmap(output_.data(), output_.size());
}

Result<void> Session::request_resend() {
    fuse_out_header notification{};
    notification.len = sizeof notification;
    notification.error = kNotifyResend;
    ssize_t written = ::write(device_, &notification, sizeof notification);
    if (written < 0) return Errno::last();
    return {};
}

Result<Session::Step> Session::step() {
    ssize_t size = ::read(device_, input_.data(), input_.size());
    if (size < 0) {
        switch (errno) {
            case EAGAIN:
                return Step::Idle;
            case EINTR:
            case ENOENT:  // the request was interrupted before it could be read
                return Step::Served;
            case ENODEV:
            case ECONNABORTED:
                return Step::Ended;
            default:
                return Errno::last();
        }
    }
    if (size == 0) return Step::Ended;
    auto message = input_.first(static_cast<size_t>(size));
    auto answer = serve(message);
    if (!answer.empty()) {
        ssize_t written = ::write(device_, answer.data(), answer.size());
        if (written < 0 && errno == ENOENT) {
            if (auto request = Request::parse(message); request.ok()) take_back(request.value(), answer);
        } else if (written < 0 && errno != EINTR) {
            if (errno == ENODEV || errno == ECONNABORTED) return Step::Ended;
            // The kernel refused the answer's form: better an error for one call than a call that hangs.
            if (auto request = Request::parse(message); request.ok()) {
                reply_.fail(Errno(EIO));
                auto failure = reply_.message(request.value().header.unique);
                (void)!::write(device_, failure.data(), failure.size());
            }
        }
    }
    root_.nodes().reclaim();
    root_.keep_bounds();
    if (!answer.empty() && size >= 8 && root_.header().initialized == 1) after_init();
    return Step::Served;
}

std::span<const std::byte> Session::serve(std::span<const std::byte> message) {
    reply_.reset();
    auto parsed = Request::parse(message);
    if (!parsed.ok()) {
        // Whose answer would it be? Only a message with a whole header has a number to answer to.
        if (message.size() < sizeof(fuse_in_header)) return {};
        fuse_in_header header;
        std::memcpy(&header, message.data(), sizeof header);
        if (const OpcodeInfo* info = find_opcode(header.opcode); info != nullptr && !info->answered) return {};
        reply_.fail(parsed.error());
        return reply_.message(header.unique);
    }
    Request& request = parsed.value();
    const uint64_t unique = request.header.unique;
    SharedState& state = root_.state();
    if ((unique & kUniqueResend) != 0) {
        auto answered = state.answer_of(unique & ~kUniqueResend);
        if (!answered.empty()) {
            std::memcpy(output_.data(), answered.data(), answered.size());
            std::memcpy(output_.data() + offsetof(fuse_out_header, unique), &unique, sizeof unique);
            return output_.first(answered.size());
        }
    }
    state.begin(unique & ~kUniqueResend);
    StateHeader& header = root_.header();
    header.requests++;
    if (request.header.opcode < kOpcodeLimit) header.requests_by_opcode[request.header.opcode]++;

    const OpcodeInfo* info = find_opcode(request.header.opcode);
    ArgumentReader arguments = request.arguments;
    if (is_deadly(header, unique & ~kUniqueResend)) {
        reply_.fail(Errno(EIO));
    } else {
        const Serving serving(header, unique & ~kUniqueResend, request.header.opcode);
        dispatch(request);
    }
    if (info != nullptr && !info->answered) {
        state.commit();
        return {};
    }
    if (reply_.is_later()) {
        state.commit();
        return {};
    }
    auto answer = reply_.message(unique);
    if (lets_data_come(request.header.opcode, arguments, answer)) hold_input(input_.size());
    state.commit(answer);
    return answer;
}

void Session::answer_syncs() {
    while (auto job = syncer_->take_done()) {
        SharedState& state = root_.state();
        state.begin(job->unique & ~kUniqueResend);
        reply_.reset();
        auto ended = end_sync(root_, *job);
        if (ended.ok()) reply_.done();
        else reply_.fail(ended.error_code() == EUCLEAN ? Errno(EIO) : ended.error());
        auto answer = reply_.message(job->unique);
        state.commit(answer);
        // The kernel may have given it up; a connection that is gone is found by the next step.
        (void)!::write(device_, answer.data(), answer.size());
    }
}

void Session::dispatch(Request& request) {
    const OpcodeInfo* info = find_opcode(request.header.opcode);
    if (info == nullptr) return reply_.fail(Errno(ENOSYS));
    if (request.arguments.left() < info->arguments) return reply_.fail(Errno(EINVAL));
    if (request.header.opcode == FUSE_INIT) {
        auto done = op_init(request);
        if (!done.ok()) reply_.fail(done.error());
        return;
    }
    if (!initialized()) return reply_.fail(Errno(EIO));
    Handler handler = find_handler(request.header.opcode);
    if (handler == nullptr) return reply_.fail(Errno(ENOSYS));
    Operation operation{root_, request, reply_, syncer_};
    auto done = handler(operation);
    if (done.ok()) return;
    // EUCLEAN is how a broken image or private area is told from a broken disk inside the engine.
    reply_.fail(done.error_code() == EUCLEAN ? Errno(EIO) : done.error());
}

Result<void> Session::op_init(Request& request) {
    auto in = TRY([&]() -> Result<fuse_init_in> {
        // Kernels before 7.36 send a shorter struct.
        fuse_init_in whole{};
        auto bytes = TRY(request.arguments.take_bytes(std::min(sizeof whole, request.arguments.left())));
        std::memcpy(&whole, bytes.data(), bytes.size());
        return whole;
    }());
    InitOut out{};
    out.major = FUSE_KERNEL_VERSION;
    out.minor = FUSE_KERNEL_MINOR_VERSION;
    if (in.major > FUSE_KERNEL_VERSION) {  // it will ask again with our version
        reply_.put(out);
        return {};
    }
    if (in.major < FUSE_KERNEL_VERSION || in.minor < 31) return Errno(EPROTO);
    uint64_t offered = in.flags;
    if ((in.flags & FUSE_INIT_EXT) != 0) offered |= uint64_t{in.flags2} << 32;
    uint64_t flags = offered & kWanted;
    StateHeader& header = root_.header();
    header.passthrough = 0;
    if (!options_.passthrough) {
        header.passthrough_error = ECANCELED;
    } else if ((offered & FUSE_PASSTHROUGH) == 0) {
        header.passthrough_error = ENOSYS;
    } else {
        flags |= FUSE_PASSTHROUGH;
        out.max_stack_depth = options_.max_stack_depth;
        header.passthrough = 1;
        header.passthrough_error = 0;
    }
    out.minor = in.minor < 45 ? in.minor : 45;
    out.max_readahead = in.max_readahead;
    out.flags = static_cast<uint32_t>(flags);
    out.flags2 = static_cast<uint32_t>(flags >> 32);
    out.max_background = 64;
    out.congestion_threshold = 48;
    out.max_write = kMaxWrite;
    out.time_gran = 1;
    out.max_pages = kMaxPages;
    header.flags = flags;
    header.minor = out.minor;
    header.max_write = kMaxWrite;
    header.initialized = 1;
    reply_.put(out);
    return {};
}

// The kernel has the answer to FUSE_INIT: only now it takes backing files. Whether it takes ours depends on the file system
// of the store (a stacked one may be too deep) and on our capabilities, so one is tried.
void Session::after_init() {
    StateHeader& header = root_.header();
    header.initialized = 2;
    if (header.passthrough == 0 || root_.fuse() < 0) return;
    auto fd = open_at(root_.area().base(), "container", O_RDONLY);
    if (!fd.ok()) return;
    fuse_backing_map map{};
    map.fd = fd.value().get();
    int id = ::ioctl(root_.fuse(), FUSE_DEV_IOC_BACKING_OPEN, &map);
    if (id < 0) {
        header.passthrough = 0;
        header.passthrough_error = static_cast<uint32_t>(errno);
        return;
    }
    auto number = static_cast<uint32_t>(id);
    (void)::ioctl(root_.fuse(), FUSE_DEV_IOC_BACKING_CLOSE, &number);
}

void Session::take_back(const Request& request, std::span<const std::byte> answer) {
    fuse_out_header header;
    std::memcpy(&header, answer.data(), sizeof header);
    if (header.error != 0) return;
    uint64_t nodeid = request.header.nodeid;
    if (gives_reference(request.header.opcode) && answer.size() >= sizeof header + sizeof(fuse_entry_out)) {
        fuse_entry_out entry;
        std::memcpy(&entry, answer.data() + sizeof header, sizeof entry);
        nodeid = entry.nodeid;
    }
    switch (request.header.opcode) {
        case FUSE_OPEN:
        case FUSE_CREATE:
        case kFuseTmpfile: {
            uint32_t flags = 0;
            ArgumentReader arguments = request.arguments;
            if (auto first = arguments.take<uint32_t>(); first.ok()) flags = first.value();
            if (Node* node = root_.nodes().find(nodeid)) root_.closed(*node, (flags & O_ACCMODE) != O_RDONLY);
            break;
        }
        default:
            break;
    }
    if (gives_reference(request.header.opcode) && nodeid != 0) root_.forget(nodeid, 1);
    root_.state().commit();
}

}  // namespace templatefs
