#include "base/failure.h"

#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <cstring>

namespace templatefs {

int fail(ExitStatus status, const char* code, const char* format, ...) {
    char line[4608];
    int prefix = std::snprintf(line, sizeof line, "templatefs-engine: %s: ", code);
    auto used = static_cast<size_t>(prefix);
    va_list arguments;
    va_start(arguments, format);
    int wanted = std::vsnprintf(line + used, sizeof line - used - 1, format, arguments);
    va_end(arguments);
    if (wanted > 0) used = std::strlen(line);
    for (size_t i = 0; i < used; ++i) {
        auto c = static_cast<unsigned char>(line[i]);
        if (c < 0x20 || c == 0x7f) line[i] = '?';
    }
    line[used++] = '\n';
    // One write, so that lines of several processes do not mix. There is nobody to tell when stderr is gone.
    [[maybe_unused]] ssize_t written = ::write(STDERR_FILENO, line, used);
    return status;
}

const char* failure_code(Errno error, const char* otherwise) {
    switch (error.value) {
        case ENOSPC:
        case EDQUOT:
            return "NO_SPACE";
        case EROFS:
            return "STORE_NOT_WRITABLE";
        case EIO:
            return "IO_ERROR";
        default:
            return otherwise;
    }
}

const char* errno_text(Errno error) {
    if (error.value == EUCLEAN) return "the content is broken (checksum, bounds or order)";
    return std::strerror(error.value);
}

}  // namespace templatefs
