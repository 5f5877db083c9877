#include "enter/descendants.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <charconv>
#include <csignal>
#include <cstring>
#include <ctime>
#include <string>
#include <unordered_map>

#include "base/unique_fd.h"
#include "private/settings.h"

namespace templatefs {
namespace {

struct Process {
    pid_t parent = 0;
    bool ended = false;
};

// nullopt-like: parent 0 when it is gone or its line cannot be read.
Process read_process(int proc, pid_t pid) {
    auto text = read_small_file(proc, (std::to_string(pid) + "/stat").c_str());
    if (!text.ok()) return {};
    const std::string& stat = text.value();
    // The second field, the name in parentheses, may hold anything.
    const size_t end = stat.rfind(')');
    if (end == std::string::npos || end + 4 >= stat.size()) return {};
    Process process;
    process.ended = stat[end + 2] == 'Z' || stat[end + 2] == 'X';
    (void)std::from_chars(stat.data() + end + 4, stat.data() + stat.size(), process.parent);
    return process;
}

Result<std::unordered_map<pid_t, Process>> read_processes(int proc) {
    const int fd = TRY(checked(::openat(proc, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
    DIR* folder = ::fdopendir(fd);
    if (folder == nullptr) {
        const Errno error = Errno::last();
        ::close(fd);
        return error;
    }
    std::unordered_map<pid_t, Process> processes;
    while (const dirent* entry = ::readdir(folder)) {
        pid_t pid = 0;
        const char* end = entry->d_name + std::strlen(entry->d_name);
        const auto parsed = std::from_chars(entry->d_name, end, pid);
        if (parsed.ec == std::errc() && parsed.ptr == end) processes.emplace(pid, read_process(proc, pid));
    }
    ::closedir(folder);
    return processes;
}

}  // namespace

Result<std::vector<pid_t>> descendants_of(int proc, pid_t ancestor) {
    const auto processes = TRY(read_processes(proc));
    std::vector<pid_t> found;
    for (const auto& [pid, process] : processes) {
        if (process.ended) continue;
        // Parents may have changed while they were read: no more steps than there are processes.
        size_t steps = processes.size();
        for (pid_t at = process.parent; at > 0 && steps > 0; steps--) {
            if (at == ancestor) {
                found.push_back(pid);
                break;
            }
            const auto next = processes.find(at);
            at = next == processes.end() ? 0 : next->second.parent;
        }
    }
    return found;
}

Result<void> kill_descendants(int proc, pid_t ancestor, uint64_t patience_ms) {
    constexpr timespec kPause{0, 2'000'000};
    for (uint64_t waited = 0; waited <= patience_ms; waited += 2) {
        const std::vector<pid_t> found = TRY(descendants_of(proc, ancestor));
        if (found.empty()) return {};
        for (pid_t pid : found) {
            UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
            if (!process.valid()) continue;
            // The number may have become somebody else's; a parent that is still one of those can have had no other child of it.
            const pid_t parent = read_process(proc, pid).parent;
            bool is_below = parent == ancestor;
            for (pid_t other : found) is_below = is_below || parent == other;
            if (is_below) (void)::syscall(SYS_pidfd_send_signal, process.get(), SIGKILL, nullptr, 0);
        }
        (void)::nanosleep(&kPause, nullptr);
    }
    return Errno(ETIMEDOUT);
}

}  // namespace templatefs
