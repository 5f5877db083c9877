#include "tools/area_stream_command.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/failure.h"
#include "private/area.h"
#include "private/area_stream.h"
#include "private/host_quota.h"

namespace templatefs {
namespace {

// The administrator's own path: a symlink on the way is followed.
Result<UniqueFd> open_folder(const char* path) {
    UniqueFd folder(::open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder.valid()) return Errno::last();
    return folder;
}

}  // namespace

int run_area_pack(int argc, char** argv) {
    if (argc != 1) return fail(kExitUsage, "USAGE", "area pack DIR > FILE");
    auto folder = open_folder(argv[0]);
    auto area = folder.ok() ? PrivateArea::open_base(folder.take()) : Result<PrivateArea>(folder.error());
    if (!area.ok())
        return fail(area.error_code() == EUCLEAN ? kExitIntegrity : kExitFailed, failure_code(area.error(), "INTEGRITY"),
                    "cannot open the private area %s: %s", argv[0], errno_text(area.error()));
    auto lock = area.value().lock();
    if (lock.error_code() == EWOULDBLOCK) return fail(kExitBusy, "BUSY", "the private area %s is in use", argv[0]);
    if (!lock.ok()) return fail(kExitFailed, failure_code(lock.error(), "FAILED"), "cannot lock %s: %s", argv[0], errno_text(lock.error()));
    AreaPack pack(area.value(), STDOUT_FILENO);
    auto done = pack.run();
    if (done.ok()) return kExitOk;
    if (done.error_code() == EUCLEAN)
        return fail(kExitIntegrity, "INTEGRITY", "%s in the private area %s has a broken node xattr", pack.place().c_str(), argv[0]);
    return fail(kExitFailed, failure_code(done.error(), "FAILED"), "cannot read %s in the private area %s: %s", pack.place().c_str(), argv[0],
                errno_text(done.error()));
}

int run_area_unpack(int argc, char** argv) {
    if (argc != 1) return fail(kExitUsage, "USAGE", "area unpack DIR < FILE");
    auto folder = open_folder(argv[0]);
    if (!folder.ok()) return fail(kExitFailed, failure_code(folder.error(), "FAILED"), "cannot open %s: %s", argv[0], errno_text(folder.error()));
    AreaUnpack unpack(STDIN_FILENO, folder.value().get());
    auto done = unpack.run();
    if (done.error_code() == EBADMSG)
        return fail(kExitIntegrity, "INTEGRITY", "the stream is no private area, or is cut short; it was at %s", unpack.place().c_str());
    if (!done.ok())
        return fail(kExitFailed, failure_code(done.error(), "FAILED"), "cannot make %s in %s: %s", unpack.place().c_str(), argv[0], errno_text(done.error()));
    if (::syncfs(folder.value().get()) < 0) {
        const Errno error = Errno::last();
        return fail(kExitFailed, failure_code(error, "IO_ERROR"), "cannot sync %s: %s", argv[0], errno_text(error));
    }
    return kExitOk;
}

}  // namespace templatefs
