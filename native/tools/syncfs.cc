#include "tools/syncfs.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/failure.h"
#include "base/unique_fd.h"

namespace templatefs {

int run_syncfs(int argc, char** argv) {
    if (argc != 1) return fail(kExitUsage, "USAGE", "syncfs takes one folder: templatefs-engine syncfs DIR");
    // The administrator's own path: a symlink is followed.
    UniqueFd folder(::open(argv[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder.valid()) return fail(kExitFailed, "IO_ERROR", "cannot open %s: %s", argv[0], errno_text(Errno::last()));
    if (::syncfs(folder.get()) < 0) {
        Errno error = Errno::last();
        if (error.value == ENOSPC || error.value == EDQUOT) {
            return fail(kExitFailed, "NO_SPACE", "cannot sync the file system of %s: %s", argv[0], errno_text(error));
        }
        return fail(kExitFailed, "IO_ERROR", "cannot sync the file system of %s: %s", argv[0], errno_text(error));
    }
    return kExitOk;
}

}  // namespace templatefs
