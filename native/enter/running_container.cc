#include "enter/running_container.h"

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <charconv>
#include <iterator>
#include <optional>

#include "private/id_map.h"
#include "private/settings.h"

namespace templatefs {
namespace {

struct Namespace {
    const char* name;
    int flag;
};

constexpr Namespace kNamespaces[] = {
    {"ns/user", CLONE_NEWUSER}, {"ns/mnt", CLONE_NEWNS},   {"ns/pid", CLONE_NEWPID},       {"ns/ipc", CLONE_NEWIPC},
    {"ns/uts", CLONE_NEWUTS},   {"ns/net", CLONE_NEWNET}, {"ns/cgroup", CLONE_NEWCGROUP},
};

std::string_view value_of(std::string_view text, std::string_view name) {
    for (size_t at = 0; at < text.size();) {
        const size_t end = std::min(text.find('\n', at), text.size());
        const std::string_view line = text.substr(at, end - at);
        if (line.starts_with(name)) return line.substr(std::min(line.find_first_not_of(" \t", name.size()), line.size()));
        at = end + 1;
    }
    return {};
}

Result<bool> is_same_namespace(int process, const char* name) {
    struct stat theirs, ours;
    TRY(checked_void(::fstatat(process, name, &theirs, 0)));
    TRY(checked_void(::stat((std::string("/proc/self/") + name).c_str(), &ours)));
    return theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino;
}

// The id on the host of the container's id 0; the file has a line `INSIDE OUTSIDE COUNT` for each range.
Result<uint32_t> outside_of_root(int process, const char* name) {
    const std::string text = TRY(read_small_file(process, name));
    uint32_t numbers[3] = {};
    size_t count = 0;
    for (const char *at = text.data(), *end = at + text.size(); at < end;) {
        if (*at == ' ' || *at == '\n') {
            at++;
            continue;
        }
        const auto parsed = std::from_chars(at, end, numbers[count % 3]);
        if (parsed.ec != std::errc()) return Errno(EUCLEAN);
        at = parsed.ptr;
        if (++count % 3 == 0 && numbers[0] == 0) return numbers[1];
    }
    return Errno(EUCLEAN);
}

}  // namespace

Result<ProcessStatus> parse_process_status(std::string_view text) {
    ProcessStatus status;
    const std::string_view bounding = value_of(text, "CapBnd:"), privileges = value_of(text, "NoNewPrivs:"), pids = value_of(text, "NSpid:");
    const auto parsed = std::from_chars(bounding.data(), bounding.data() + bounding.size(), status.bounding_set, 16);
    if (bounding.empty() || parsed.ptr != bounding.data() + bounding.size() || (privileges != "0" && privileges != "1") || pids.empty())
        return Errno(EUCLEAN);
    status.no_new_privileges = privileges == "1";
    // One number for each pid namespace from the reader's inwards.
    status.is_first = pids.ends_with("\t1");
    return status;
}

Result<RunningContainer> open_running(const std::string& root, pid_t pid) {
    RunningContainer container;
    container.process = UniqueFd(TRY(checked(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)))));
    UniqueFd process(TRY(checked(::open(("/proc/" + std::to_string(pid)).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC))));
    // The link leads into another mount namespace: that is what it is for.
    container.root = UniqueFd(TRY(checked(::openat(process.get(), "root", O_PATH | O_DIRECTORY | O_CLOEXEC))));
    struct stat theirs, ours;
    TRY(checked_void(::fstat(container.root.get(), &theirs)));
    TRY(checked_void(::stat(root.c_str(), &ours)));
    const ProcessStatus status = TRY(parse_process_status(TRY(read_small_file(process.get(), "status"))));
    if (!status.is_first || theirs.st_dev != ours.st_dev || theirs.st_ino != ours.st_ino) return Errno(ESRCH);
    container.capabilities = status.bounding_set;
    container.no_new_privileges = status.no_new_privileges;
    for (const Namespace& space : kNamespaces)
        if (!TRY(is_same_namespace(process.get(), space.name))) container.namespaces |= space.flag;
    container.has_user_namespace = (container.namespaces & CLONE_NEWUSER) != 0;
    if (container.has_user_namespace) {
        container.root_uid = TRY(outside_of_root(process.get(), "uid_map"));
        container.root_gid = TRY(outside_of_root(process.get(), "gid_map"));
    }
    // Alive still: so the folder of /proc was its own, and not that of a later process of this number.
    TRY(checked_void(static_cast<int>(::syscall(SYS_pidfd_send_signal, container.process.get(), 0, nullptr, 0))));
    return container;
}

Result<void> join(const RunningContainer& container) {
    TRY(checked_void(::setns(container.process.get(), container.namespaces)));
    TRY(checked_void(::fchdir(container.root.get())));
    TRY(checked_void(::chroot(".")));
    // A user namespace may forbid setgroups(2); then there are none that could be kept.
    (void)::setgroups(0, nullptr);
    TRY(checked_void(::setresgid(0, 0, 0)));
    return checked_void(::setresuid(0, 0, 0));
}

}  // namespace templatefs
