#include "mount/mount_container.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "base/failure.h"
#include "mount/command_lock.h"
#include "mount/found_engine.h"
#include "mount/mount_table.h"
#include "private/settings.h"

namespace templatefs {
namespace {

// One mount from its checks to its end. Each step returns 0, or the exit status after the error has been said.
class Mounting {
public:
    Mounting(MountCommand& command, MountedContainer& mounted) : command_(command), mounted_(mounted), ct_(command.options.container.c_str()) {}

    int run() {
        for (auto step : {&Mounting::open_store, &Mounting::open_area, &Mounting::take_lock, &Mounting::choose_place, &Mounting::look_for_engine,
                          &Mounting::prepare_place}) {
            if (int status = (this->*step)(); status != 0 || mounted_.already) return status;
        }
        MountOptions& options = command_.options;
        options.mountpoint = mounted_.mountpoint;
        options.area_lock = std::move(found_.area_lock);
        // The engine keeps it until its root is live, so that nobody meets a half-made one, even if this command is killed.
        options.command_lock = options.foreground ? lock_.hand_over() : lock_.share();
        if (options.foreground) close_all();
        const int status = run_mount(options);
        if (options.foreground) return status;
        // Nothing of it is left for the next command to wonder about.
        if (status != 0) clean_up();
        else if (options.ids) mounted_.ids = *options.ids;
        else if (auto settings = read_settings(area_.get()); settings.ok()) mounted_.ids = settings.value().ids;
        return status;
    }

private:
    int fail_writing(Errno error, const char* what) {
        switch (error.value) {
            case ENOSPC:
            case EDQUOT:
                return fail(kExitFailed, "NO_SPACE", "no space left while writing %s%s", what, ct_);
            case EROFS:
            case EACCES:
            case EPERM:
                return fail(kExitFailed, "STORE_NOT_WRITABLE", "cannot write %s%s in the store %s: %s", what, ct_, store_path_.c_str(), errno_text(error));
            default:
                return fail(kExitFailed, error.value == EIO ? "IO_ERROR" : "FAILED", "cannot write %s%s in the store %s: %s", what, ct_,
                            store_path_.c_str(), errno_text(error));
        }
    }

    int open_store() {
        const std::string& path = command_.options.store;
        store_ = UniqueFd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        char* real = store_.valid() ? ::realpath(path.c_str(), nullptr) : nullptr;
        if (real == nullptr) return fail(kExitFailed, "FAILED", "cannot open the store %s: %s", path.c_str(), std::strerror(errno));
        store_path_ = real;
        std::free(real);
        places_.store = store_.get();
        places_.container = command_.options.container;
        places_.default_root = store_path_ + (store_path_ == "/" ? "root/" : "/root/") + ct_;
        return 0;
    }

    int open_area() {
        if (!is_container_name(command_.options.container)) return fail(kExitUsage, "USAGE", "not a container name: %s", ct_);
        auto all = open_at(store_.get(), "private", O_RDONLY | O_DIRECTORY);
        auto area = all.ok() ? open_at(all.value().get(), ct_, O_RDONLY | O_DIRECTORY) : Result<UniqueFd>(all.error());
        if (area.error_code() == ENOENT || (area.ok() && ::faccessat(area.value().get(), "container", F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT))
            return fail(kExitNoContainer, "CONTAINER_NOT_FOUND", "there is no container %s in the store %s", ct_, store_path_.c_str());
        if (!area.ok()) return fail(kExitFailed, "FAILED", "cannot open the private area of %s: %s", ct_, errno_text(area.error()));
        area_ = area.take();
        places_.area = area_.get();
        return 0;
    }

    int take_lock() {
        if (command_.locked) return 0;
        std::string holder;
        const std::string name = std::string("container-") + ct_;
        auto lock = CommandLock::take(store_.get(), name, command_.name, command_.wait_ms, holder);
        if (lock.ok()) {
            lock_ = lock.take();
            // While we waited it may have been destroyed, and made anew.
            return open_area();
        }
        if (lock.error_code() != EWOULDBLOCK) return fail_writing(lock.error(), "the lock of ");
        return fail(kExitBusy, "BUSY", "container %s is in use by %s", ct_, holder.empty() ? "another command" : holder.c_str());
    }

    // The real path of the mount point. One that is left of a dead engine is cleared away later, if it is this container's.
    int choose_place() {
        const std::string& given = command_.options.mountpoint;
        if (given.empty()) {
            mounted_.mountpoint = places_.default_root;
            return 0;
        }
        char* absolute = ::realpath(given.c_str(), nullptr);
        if (absolute != nullptr) mounted_.mountpoint = absolute;
        std::free(absolute);
        const std::string& real = mounted_.mountpoint;
        struct statx stat;
        const bool is_folder = !real.empty() && ::statx(AT_FDCWD, real.c_str(), AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC, STATX_TYPE, &stat) == 0 &&
                               S_ISDIR(stat.stx_mode);
        if (!is_folder) return fail(kExitUsage, "USAGE", "the mount point %s is no folder: make it first, or name another", given.c_str());
        const auto within = [](const std::string& path, const std::string& folder) {
            return path == folder || folder == "/" || path.starts_with(folder + "/");
        };
        if ((within(real, store_path_) || within(store_path_, real)) && real != places_.default_root)
            return fail(kExitUsage, "USAGE", "the mount point %s would hide a part of the store, or lie within it: name a folder elsewhere", real.c_str());
        return 0;
    }

    int look_for_engine() {
        if (::access("/dev/fuse", F_OK) < 0) return fail(kExitNoFuse, "FUSE_UNAVAILABLE", "there is no /dev/fuse");
        auto found = find_engine(places_);
        if (!found.ok()) {
            const int error = found.error_code();
            if (error == EROFS || error == ENOSPC || error == EDQUOT) return fail_writing(found.error(), "the private area of ");
            return fail(kExitFailed, "FAILED", "cannot find out whether %s is mounted: %s", ct_, errno_text(found.error()));
        }
        found_ = found.take();
        if (found_.state == FoundEngine::State::Mounted || found_.state == FoundEngine::State::MountedElsewhere) return use_mounted();
        if (found_.left.empty()) return 0;
        if (auto cleared = clear_left(places_, found_); !cleared.ok()) {
            if (cleared.error_code() == ETIMEDOUT)
                return fail(kExitNoFuse, "ENGINE_FAILED", "the engine of %s%s lost its mount and does not end: see what it waits for, then kill it", ct_,
                            found_.engine ? (" (pid " + std::to_string(found_.engine->holder) + ")").c_str() : "");
            return fail(kExitFailed, "FAILED", "cannot clear away what is left of an earlier mount of %s: %s", ct_, errno_text(cleared.error()));
        }
        mounted_.cleared = found_.left;
        return 0;
    }

    int use_mounted() {
        const MountOptions& options = command_.options;
        const char* at = found_.mountpoint.c_str();
        const bool other_place = !options.mountpoint.empty() && mounted_.mountpoint != found_.mountpoint;
        if (found_.state == FoundEngine::State::MountedElsewhere || other_place || command_.must_be_new)
            return fail(kExitBusy, "BUSY", "container %s is mounted at %s already", ct_, at);
        const bool other_ids = options.ids && id_map_text(options.ids->uids) + '/' + id_map_text(options.ids->gids) !=
                                                  id_map_text(found_.engine->ids.uids) + '/' + id_map_text(found_.engine->ids.gids);
        if (!options.mount_options.empty() || other_ids)
            return fail(kExitBusy, "BUSY", "container %s is mounted at %s already: %s cannot be set now", ct_, at,
                        options.mount_options.empty() ? "its map of ids" : "its mount options");
        // Whoever asks for a mount that stays gets one, also when an `exec` made it for itself.
        if (!command_.temporary) (void)!::unlinkat(store_.get(), temporary_mark().c_str(), 0);
        mounted_.mountpoint = found_.mountpoint;
        mounted_.ids = found_.engine->ids;
        mounted_.already = true;
        return 0;
    }

    int prepare_place() {
        const std::string run = std::string("run/") + ct_;
        const bool made = (::mkdirat(store_.get(), "run", 0700) == 0 || errno == EEXIST) &&
                          (::mkdirat(store_.get(), run.c_str(), 0700) == 0 || errno == EEXIST);
        if (!made) return fail_writing(Errno::last(), "run/");
        if (command_.temporary) {
            UniqueFd mark(::openat(store_.get(), temporary_mark().c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
            if (!mark.valid()) return fail_writing(Errno::last(), "run/");
        }
        if (command_.options.mountpoint.empty()) {
            const bool there = (::mkdirat(store_.get(), "root", 0711) == 0 || errno == EEXIST) &&
                               (::mkdir(places_.default_root.c_str(), 0755) == 0 || errno == EEXIST);
            if (!there) return fail_writing(Errno::last(), "root/");
        }
        return check_free();
    }

    // Nothing else may be mounted there, but for an automount that waits for exactly this.
    int check_free() {
        const std::string& place = mounted_.mountpoint;
        if (!is_mount_root(place)) return 0;
        auto table = read_mount_table();
        auto entry = table.ok() ? mount_on_top(table.value(), place) : std::nullopt;
        if (entry && entry->type == "autofs") return 0;
        const int status = fail(kExitBusy, "BUSY", "something else is mounted at %s (%s): name another folder", place.c_str(),
                                entry ? entry->type.c_str() : "of an unknown type");
        clean_up();
        return status;
    }

    // This process becomes the engine, which keeps nothing of the command's.
    void close_all() {
        store_.reset();
        area_.reset();
        places_ = {};
    }

    std::string temporary_mark() const { return std::string("run/") + ct_ + "/temporary"; }

    void clean_up() {
        (void)remove_run_folder(places_).ok();
        // Made by us; somebody's that is not empty stays.
        if (command_.options.mountpoint.empty() || mounted_.mountpoint == places_.default_root) ::rmdir(places_.default_root.c_str());
    }

    MountCommand& command_;
    MountedContainer& mounted_;
    const char* ct_;
    UniqueFd store_, area_;
    std::string store_path_;
    CommandLock lock_;
    ContainerPlaces places_;
    FoundEngine found_;
};

}  // namespace

int mount_container(MountCommand& command, MountedContainer& mounted) { return Mounting(command, mounted).run(); }

}  // namespace templatefs
