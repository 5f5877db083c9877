#include "mount/process_identity.h"

#include <fcntl.h>
#include <unistd.h>

#include "private/settings.h"

namespace templatefs {
namespace {

std::string line_of(const std::string& path) {
    auto text = read_small_file(AT_FDCWD, path.c_str());
    if (!text.ok()) return {};
    return text.value().substr(0, text.value().find('\n'));
}

std::string of_process(pid_t pid, const char* file) {
    return pid > 0 ? line_of("/proc/" + std::to_string(pid) + "/" + file) : std::string();
}

}  // namespace

std::string boot_id() { return line_of("/proc/sys/kernel/random/boot_id"); }

std::string process_start(pid_t pid) {
    const std::string stat = of_process(pid, "stat");
    // The second field, the name in parentheses, may hold spaces and parentheses. The third is the state, the 22nd the start.
    size_t at = stat.rfind(')');
    if (at == std::string::npos || at + 2 >= stat.size()) return {};
    at += 2;
    if (stat[at] == 'Z' || stat[at] == 'X') return {};
    for (int field = 3; field < 22; field++) {
        at = stat.find(' ', at);
        if (at == std::string::npos) return {};
        at++;
    }
    return stat.substr(at, stat.find(' ', at) - at);
}

std::string process_name(pid_t pid) { return of_process(pid, "comm"); }

bool has_engine_name(pid_t pid) {
    if (process_start(pid).empty()) return false;  // one that was killed and is not reaped keeps its name
    const std::string name = process_name(pid);
    return name.starts_with("tplfs-") || name.starts_with("templatefs");
}

ProcessIdentity own_identity() { return {::getpid(), process_start(::getpid()), boot_id()}; }

}  // namespace templatefs
