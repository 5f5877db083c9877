#include "enter/container_mounts.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "session/confine.h"

namespace templatefs {
namespace {

// src/sandbox/stage-arguments.ts has the same names.
constexpr const char* kInput = "templatefs";
constexpr const char* kWork = "templatefs-work";

Result<void> set_string(int context, const char* name, const std::string& value) {
    return checked_void(static_cast<int>(::syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, name, value.c_str(), 0)));
}

Result<UniqueFd> make_work(uint64_t bytes, uid_t owner, gid_t group) {
    UniqueFd context(TRY(checked(static_cast<int>(::syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC)))));
    const int fs = context.get();
    TRY(set_string(fs, "source", "templatefs-work"));
    TRY(set_string(fs, "size", std::to_string(bytes)));
    TRY(set_string(fs, "mode", "0755"));
    TRY(set_string(fs, "uid", std::to_string(owner)));
    TRY(set_string(fs, "gid", std::to_string(group)));
    TRY(checked_void(static_cast<int>(::syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0))));
    return UniqueFd(TRY(checked(static_cast<int>(::syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)))));
}

// Relative to /run, whatever the container makes of that name meanwhile.
bool is_mounted(int run, const char* name) {
    struct statx stat;
    return ::statx(run, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC, STATX_BASIC_STATS, &stat) == 0 &&
           (stat.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

void take_away(int run, const char* name) {
    if (::fchdir(run) < 0) return;
    while (is_mounted(run, name) && ::umount2(name, MNT_DETACH | UMOUNT_NOFOLLOW) == 0) {
    }
    (void)::unlinkat(run, name, AT_REMOVEDIR);
    (void)!::chdir("/");
}

Result<void> put(int run, const char* name, int mount) {
    take_away(run, name);
    if (::mkdirat(run, name, 0755) < 0 && errno != EEXIST) return Errno::last();
    UniqueFd place = TRY(open_at(run, name, O_PATH | O_DIRECTORY));
    return checked_void(static_cast<int>(
        ::syscall(SYS_move_mount, mount, "", place.get(), "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)));
}

}  // namespace

Result<ContainerMounts> ContainerMounts::make(const std::string& input, uint64_t work_bytes, uid_t owner, gid_t group) {
    ContainerMounts mounts;
    if (!input.empty()) {
        UniqueFd folder(TRY(checked(::open(input.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC))));
        mounts.input_ = TRY(detached_view(folder.get(), true));
    }
    mounts.work_ = TRY(make_work(work_bytes, owner, group));
    return mounts;
}

Result<void> ContainerMounts::place() {
    UniqueFd root(TRY(checked(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC))));
    run_ = TRY(open_at(root.get(), "run", O_RDONLY | O_DIRECTORY));
    if (input_.valid()) TRY(put(run_.get(), kInput, input_.get()));
    return put(run_.get(), kWork, work_.get());
}

void ContainerMounts::remove() {
    if (!run_.valid()) return;
    take_away(run_.get(), kInput);
    take_away(run_.get(), kWork);
}

}  // namespace templatefs
