#include "session/user_namespace.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <string>

namespace templatefs {
namespace {

Result<void> write_map(pid_t child, const char* name, const IdMap& map) {
    std::string path = "/proc/" + std::to_string(child) + "/" + name;
    UniqueFd fd(TRY(checked(::open(path.c_str(), O_WRONLY | O_CLOEXEC))));
    std::string text = id_map_text(map);
    // The kernel takes a map in one write only.
    ssize_t written = ::write(fd.get(), text.data(), text.size());
    if (written < 0) return Errno::last();
    return {};
}

Result<UniqueFd> namespace_of(pid_t child, const IdMaps& maps) {
    TRY(write_map(child, "uid_map", maps.uids));
    TRY(write_map(child, "gid_map", maps.gids));
    std::string path = "/proc/" + std::to_string(child) + "/ns/user";
    return UniqueFd(TRY(checked(::open(path.c_str(), O_RDONLY | O_CLOEXEC))));
}

}  // namespace

Result<UniqueFd> make_user_namespace(const IdMaps& maps) {
    // Only a process can make one, and only another can write its maps: a child that does nothing but wait.
    int report[2];
    TRY(checked_void(::pipe2(report, O_CLOEXEC)));
    UniqueFd reader(report[0]), writer(report[1]);
    pid_t child = ::fork();
    if (child < 0) return Errno::last();
    if (child == 0) {
        int error = ::unshare(CLONE_NEWUSER) < 0 ? errno : 0;
        (void)!::write(writer.get(), &error, sizeof error);
        // Ended by SIGKILL below; and by itself if the parent is gone before it says so.
        reader.reset();
        ::alarm(60);
        for (;;) ::pause();
    }
    writer.reset();
    int error = 0;
    ssize_t size;
    do size = ::read(reader.get(), &error, sizeof error);
    while (size < 0 && errno == EINTR);
    if (size != sizeof error) error = EAGAIN;
    Result<UniqueFd> made = error != 0 ? Result<UniqueFd>(Errno(error)) : namespace_of(child, maps);
    ::kill(child, SIGKILL);
    while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
    }
    return made;
}

}  // namespace templatefs
