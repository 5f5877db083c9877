#include "testing/fake_kernel.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace templatefs::testing {
namespace {

constexpr int kAnswerTimeoutMs = 10'000;
constexpr size_t kLargestMessage = (1u << 20) + 65536;

std::string opcode_text(uint32_t opcode) { return "opcode " + std::to_string(opcode); }

}  // namespace

std::vector<std::string> DirAnswer::names() const {
    std::vector<std::string> names;
    for (const auto& record : records) {
        if (record.name != "." && record.name != "..") names.push_back(record.name);
    }
    std::sort(names.begin(), names.end());
    return names;
}

const DirRecord* DirAnswer::find(std::string_view name) const {
    for (const auto& record : records) {
        if (record.name == name) return &record;
    }
    return nullptr;
}

// ---- messages

FakeKernel::FakeKernel() : buffer_(kLargestMessage) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
        std::perror("socketpair");
        std::abort();
    }
    kernel_fd_ = ends[0];
    engine_fd_ = ends[1];
    // The longest WRITE in one packet; beyond the usual limit, which root may exceed.
    int size = 4 * static_cast<int>(kLargestMessage);
    for (int end : ends) {
        if (::setsockopt(end, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) < 0) {
            ::setsockopt(end, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
        }
    }
}

FakeKernel::~FakeKernel() {
    hang_up();
    if (!engine_fd_released_ && engine_fd_ >= 0) ::close(engine_fd_);
}

int FakeKernel::release_engine_fd() {
    engine_fd_released_ = true;
    return engine_fd_;
}

void FakeKernel::hang_up() {
    if (kernel_fd_ >= 0) ::close(kernel_fd_);
    kernel_fd_ = -1;
}

void FakeKernel::append_name(Bytes& bytes, std::string_view name) {
    size_t at = bytes.size();
    bytes.resize(at + name.size() + 1);
    if (!name.empty()) std::memcpy(bytes.data() + at, name.data(), name.size());
}

fuse_in_header FakeKernel::next_header(uint32_t opcode, uint64_t nodeid, size_t argument_size) {
    fuse_in_header header{};
    header.len = static_cast<uint32_t>(sizeof header + argument_size);
    header.opcode = opcode;
    header.unique = next_unique_;
    header.nodeid = nodeid;
    header.uid = caller_.uid;
    header.gid = caller_.gid;
    header.pid = caller_.pid;
    next_unique_ += 2;
    return header;
}

Bytes FakeKernel::message(const fuse_in_header& header, std::span<const std::byte> arguments) {
    Bytes bytes;
    append(bytes, header);
    bytes.insert(bytes.end(), arguments.begin(), arguments.end());
    return bytes;
}

void FakeKernel::send_raw(std::span<const std::byte> bytes, std::optional<uint64_t> unique) {
    if (unique) {
        uint32_t opcode = 0;
        if (bytes.size() >= 8) std::memcpy(&opcode, bytes.data() + 4, sizeof opcode);
        due_[*unique] = opcode;
        sent_[*unique] = Bytes(bytes.begin(), bytes.end());
    }
    if (::send(kernel_fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(bytes.size())) {
        engine_hung_up_ = errno == EPIPE || errno == ECONNRESET;
        fault(std::string("cannot send a request: ") + std::strerror(errno));
    }
}

uint64_t FakeKernel::send(uint32_t opcode, uint64_t nodeid, std::span<const std::byte> arguments, bool answered) {
    fuse_in_header header = next_header(opcode, nodeid, arguments.size());
    send_raw(message(header, arguments), answered ? std::optional(header.unique) : std::nullopt);
    return header.unique;
}

bool FakeKernel::wait_readable(int timeout_ms) const {
    pollfd poll_fd{kernel_fd_, POLLIN, 0};
    return ::poll(&poll_fd, 1, timeout_ms) > 0;
}

void FakeKernel::receive_one(int timeout_ms) {
    if (kernel_fd_ < 0 || !wait_readable(timeout_ms)) return;
    ssize_t got = ::recv(kernel_fd_, buffer_.data(), buffer_.size(), MSG_DONTWAIT | MSG_TRUNC);
    if (got <= 0) {
        engine_hung_up_ = true;
        return;
    }
    auto size = static_cast<size_t>(got);
    if (size < sizeof(fuse_out_header) || size > buffer_.size()) {
        fault("a message of " + std::to_string(size) + " bytes");
        return;
    }
    fuse_out_header header;
    std::memcpy(&header, buffer_.data(), sizeof header);
    if (header.len != size) {
        fault("a message of " + std::to_string(size) + " bytes says that it has " + std::to_string(header.len));
        return;
    }
    Bytes body(buffer_.begin() + sizeof header, buffer_.begin() + got);
    if (header.unique == 0) {
        notifications_.emplace_back(header.error, std::move(body));
        return;
    }
    const bool marked = (header.unique & kUniqueResend) != 0;
    header.unique &= ~kUniqueResend;
    auto due = due_.find(header.unique);
    if (due != due_.end() && marked != resent_.contains(header.unique)) {
        fault("an answer to " + opcode_text(due->second) + (marked ? " is marked as resent" : " is not marked as resent"));
        return;
    }
    if (due == due_.end()) {
        fault(std::string(done_.contains(header.unique) ? "a second answer to " : "an answer to what was not asked: ") +
              std::to_string(header.unique));
        return;
    }
    // Linux: fuse_dev_do_write refuses these with EINVAL.
    if (header.error > 0 || header.error <= -512) {
        fault("error " + std::to_string(header.error) + " for " + opcode_text(due->second));
    }
    if (header.error != 0 && !body.empty()) fault("an error with a payload for " + opcode_text(due->second));
    done_.insert(header.unique);
    arrived_[header.unique] = {-header.error, std::move(body)};
    sent_.erase(due->first);
    due_.erase(due);
}

void FakeKernel::resend() {
    // The engine's queue, to know what it has not read yet.
    std::vector<Bytes> unread;
    for (;;) {
        ssize_t got = ::recv(engine_fd_, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
        if (got <= 0) break;
        unread.emplace_back(buffer_.begin(), buffer_.begin() + got);
    }
    std::set<uint64_t> waiting;
    for (const auto& bytes : unread) {
        uint64_t unique;
        std::memcpy(&unique, bytes.data() + offsetof(fuse_in_header, unique), sizeof unique);
        waiting.insert(unique & ~kUniqueResend);
    }
    for (auto& [unique, bytes] : sent_) {
        if (waiting.contains(unique)) continue;
        resent_.insert(unique);
        uint64_t marked = unique | kUniqueResend;
        std::memcpy(bytes.data() + offsetof(fuse_in_header, unique), &marked, sizeof marked);
        send_raw(bytes, std::nullopt);
    }
    for (const auto& bytes : unread) send_raw(bytes, std::nullopt);
}

Answer FakeKernel::wait(uint64_t unique) {
    timespec start;
    ::clock_gettime(CLOCK_MONOTONIC, &start);
    for (;;) {
        if (auto found = arrived_.find(unique); found != arrived_.end()) {
            Answer answer = std::move(found->second);
            arrived_.erase(found);
            return answer;
        }
        timespec now;
        ::clock_gettime(CLOCK_MONOTONIC, &now);
        auto spent = (now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1'000'000;
        if (spent >= kAnswerTimeoutMs || engine_hung_up_) {
            uint32_t opcode = due_.contains(unique) ? due_[unique] : 0;
            fault((engine_hung_up_ ? "the engine hung up on " : "no answer to ") + opcode_text(opcode));
            due_.erase(unique);
            sent_.erase(unique);
            return {ETIMEDOUT, {}};
        }
        if (while_waiting) while_waiting();
        receive_one(while_waiting ? 1 : static_cast<int>(kAnswerTimeoutMs - spent));
    }
}

Answer FakeKernel::call(uint32_t opcode, uint64_t nodeid, std::span<const std::byte> arguments) {
    return wait(send(opcode, nodeid, arguments));
}

void FakeKernel::settle(int ms) {
    while (kernel_fd_ >= 0 && !engine_hung_up_ && wait_readable(ms)) receive_one(0);
}

std::string FakeKernel::fault_text() const {
    std::string text;
    for (const auto& one : faults_) text += (text.empty() ? "" : "; ") + one;
    return text;
}

// ---- whole files and paths

EntryAnswer FakeKernel::walk(std::string_view path) {
    EntryAnswer at;
    at.entry.nodeid = 1;
    at.entry.attr = getattr(1).attr;
    while (!path.empty()) {
        size_t start = path.find_first_not_of('/');
        if (start == std::string_view::npos) break;
        path.remove_prefix(start);
        size_t end = path.find('/');
        at = lookup(at.entry.nodeid, path.substr(0, end));
        if (at.error != 0) return at;
        path = end == std::string_view::npos ? std::string_view() : path.substr(end);
    }
    return at;
}

TextAnswer FakeKernel::read_file(std::string_view path) {
    EntryAnswer file;
    OpenAnswer opened;
    for (int attempt = 0; attempt < 2; ++attempt) {
        file = walk(path);
        if (file.error != 0) return {file.error, {}};
        opened = open(file.nodeid(), O_RDONLY);
        if (opened.error != ESTALE) break;
    }
    if (opened.error != 0) return {opened.error, {}};
    TextAnswer all;
    for (;;) {
        TextAnswer part = read(file.nodeid(), opened.fh, all.text.size(), 128 * 1024);
        all.error = part.error;
        if (part.error != 0 || part.text.empty()) break;
        all.text += part.text;
    }
    if (int error = release(file.nodeid(), opened.fh, O_RDONLY); error != 0) fault("RELEASE answers " + std::to_string(error));
    return all;
}

int FakeKernel::write_file(std::string_view path, std::string_view data, uint64_t offset, uint32_t flags) {
    EntryAnswer file;
    OpenAnswer opened;
    for (int attempt = 0; attempt < 2; ++attempt) {
        file = walk(path);
        if (file.error != 0) return file.error;
        opened = open(file.nodeid(), flags);
        if (opened.error != ESTALE) break;
    }
    if (opened.error != 0) return opened.error;
    SizeAnswer written = write(file.nodeid(), opened.fh, offset, data);
    int error = written.error;
    if (error == 0 && written.size != data.size()) error = EIO;
    if (int closed = release(file.nodeid(), opened.fh, flags); closed != 0) fault("RELEASE answers " + std::to_string(closed));
    return error;
}

}  // namespace templatefs::testing
