#include "mount/command_lock.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <ctime>

#include "mount/process_identity.h"
#include "private/settings.h"

namespace templatefs {
namespace {

// https://www.sqlite.org/fileformat2.html, "The Lock-Byte Page": pending, reserved, and 510 shared bytes.
constexpr off_t kLockBytes = 0x40000000;
constexpr off_t kLockByteCount = 512;
constexpr uint64_t kPollMs = 5;

Result<UniqueFd> open_or_make(int parent, const char* name, mode_t mode) {
    if (::mkdirat(parent, name, mode) < 0 && errno != EEXIST) return Errno::last();
    return open_at(parent, name, O_RDONLY | O_DIRECTORY);
}

// One try. EWOULDBLOCK when somebody else has it.
Result<UniqueFd> try_lock(int folder, const char* name) {
    UniqueFd fd = TRY(open_at(folder, name, O_RDWR | O_CREAT, 0600));
    struct flock lock {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    lock.l_start = kLockBytes;
    lock.l_len = kLockByteCount;
    if (::fcntl(fd.get(), F_OFD_SETLK, &lock) < 0) return Errno(errno == EACCES || errno == EAGAIN ? EWOULDBLOCK : errno);
    // It may have been removed with its container just before: then this one guards nothing.
    struct stat stat;
    TRY(checked_void(::fstat(fd.get(), &stat)));
    if (stat.st_nlink == 0) return Errno(EWOULDBLOCK);
    return fd;
}

// As JSON.stringify writes it, for names that a command line may hold.
std::string json_text(std::string_view text) {
    static constexpr char digits[] = "0123456789abcdef";
    std::string json = "\"";
    for (char c : text) {
        auto byte = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') (json += '\\') += c;
        else if (byte < 0x20 || byte > 0x7e) ((json += "\\u00") += digits[byte >> 4]) += digits[byte & 15];
        else json += c;
    }
    return json += '"';
}

std::string now_text() {
    timespec now;
    ::clock_gettime(CLOCK_REALTIME, &now);
    tm parts;
    ::gmtime_r(&now.tv_sec, &parts);
    char text[64];
    const size_t length = ::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
    char fraction[32];
    std::snprintf(fraction, sizeof fraction, ".%03ldZ", now.tv_nsec / 1'000'000);
    return std::string(text, length) + fraction;
}

std::string note_text(const std::string& command) {
    const ProcessIdentity own = own_identity();
    return "{\"pid\":" + std::to_string(own.pid) + ",\"start\":" + json_text(own.start) + ",\"boot\":" + json_text(own.boot) +
           ",\"mode\":\"exclusive\",\"command\":" + json_text(command) + ",\"since\":" + json_text(now_text()) + "}";
}

// The first process that left a note beside the lock and still runs: `pid 7 (NAME)`.
std::string find_holder(int folder, const std::string& name) {
    const std::string prefix = name + ".holder-";
    auto own = open_at(folder, ".", O_RDONLY | O_DIRECTORY);
    DIR* stream = own.ok() ? ::fdopendir(own.value().get()) : nullptr;
    if (stream == nullptr) return {};
    (void)own.value().release();
    std::string found;
    while (const dirent* entry = found.empty() ? ::readdir(stream) : nullptr) {
        const std::string_view note = entry->d_name;
        if (!note.starts_with(prefix)) continue;
        pid_t pid = 0;
        std::from_chars(note.data() + prefix.size(), note.data() + note.size(), pid);
        auto text = read_small_file(folder, entry->d_name);
        const std::string start = process_start(pid);
        // A note whose process is gone, or whose pid is another's by now, says nothing.
        if (start.empty() || !text.ok() || text.value().find("\"start\":\"" + start + "\"") == std::string::npos) continue;
        found = "pid " + std::to_string(pid) + " (" + process_name(pid) + ")";
    }
    ::closedir(stream);
    return found;
}

}  // namespace

Result<CommandLock> CommandLock::take(int store, const std::string& name, const std::string& command, uint64_t wait_ms,
                                      std::string& holder) {
    UniqueFd run = TRY(open_or_make(store, "run", 0700));
    CommandLock lock;
    lock.folder_ = TRY(open_or_make(run.get(), ".locks", 0700));
    for (uint64_t waited = 0;; waited += kPollMs) {
        auto fd = try_lock(lock.folder_.get(), name.c_str());
        if (fd.ok()) {
            lock.fd_ = fd.take();
            break;
        }
        if (fd.error_code() != EWOULDBLOCK) return fd.error();
        if (waited >= wait_ms) {
            holder = find_holder(lock.folder_.get(), name);
            return Errno(EWOULDBLOCK);
        }
        ::usleep(kPollMs * 1000);
    }
    // Only for a message: a lock without a note is one all the same.
    std::string note = name + ".holder-" + std::to_string(::getpid()) + "-1";
    auto file = open_at(lock.folder_.get(), note.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (file.ok()) {
        const std::string text = note_text(command);
        (void)!::write(file.value().get(), text.data(), text.size());
        lock.note_ = std::move(note);
    }
    return lock;
}

CommandLock::~CommandLock() { remove_note(); }

void CommandLock::remove_note() {
    if (!note_.empty()) ::unlinkat(folder_.get(), note_.c_str(), 0);
    note_.clear();
}

UniqueFd CommandLock::hand_over() {
    remove_note();
    folder_.reset();
    return std::move(fd_);
}

UniqueFd CommandLock::share() const { return UniqueFd(fd_.valid() ? ::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 3) : -1); }

}  // namespace templatefs
