#include "tools/syncfs.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/failure.h"
#include "base/unique_fd.h"

namespace templatefs {

int run_syncfs(int argc, char** argv) {
    if (argc > 1) return fail(kExitUsage, "USAGE", "syncfs takes one folder at most: templatefs-engine syncfs [DIR]");
    const char* name = argc == 1 ? argv[0] : "stdin";
    // The administrator's own path: a symlink is followed.
    UniqueFd folder(argc == 1 ? ::open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3));
    if (!folder.valid()) return fail(kExitFailed, "IO_ERROR", "cannot open %s: %s", name, errno_text(Errno::last()));
    if (::syncfs(folder.get()) < 0) {
        const Errno error = Errno::last();
        const char* code = error.value == ENOSPC || error.value == EDQUOT ? "NO_SPACE" : "IO_ERROR";
        return fail(kExitFailed, code, "cannot sync the file system of %s: %s", name, errno_text(error));
    }
    return kExitOk;
}

}  // namespace templatefs
