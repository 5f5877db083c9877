#include "base/failure.h"

#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <cstring>

namespace templatefs {
namespace {

const char* program_for_people = nullptr;

struct Hint {
    const char* code;
    const char* text;
};

// The control plane has its own: src/engine/run-engine.ts.
constexpr Hint kHints[] = {
    {"USAGE", "see --help, and mount(8)"},
    {"CONTAINER_NOT_FOUND", "see which there are with `templatefs list`; another store is named by -o store=DIR"},
    {"BUSY", "see what uses it with `templatefs info` and `fuser -vm`; -o wait=SECONDS waits for other commands"},
    {"BAD_TREE", "run `templatefs verify`; a tree is restored by importing its template again"},
    {"INTEGRITY", "run `templatefs verify` to see what is broken"},
    {"FUSE_UNAVAILABLE", "see that /dev/fuse is there (modprobe fuse) and that you are root outside of a restricted container"},
    {"STORE_NOT_WRITABLE", "the store must be mounted read-write before its containers are"},
    {"NO_SPACE", "free some space on the file system of the store (templatefs gc, df -h, df -i)"},
    {"IO_ERROR", "look at dmesg: the disk below the store reports errors"},
};

// Writes a line in one write, so that lines of several processes do not mix. There is nobody to tell when stderr is gone.
void write_line(char* line, size_t used) {
    for (size_t i = 0; i < used; ++i) {
        auto c = static_cast<unsigned char>(line[i]);
        if (c < 0x20 || c == 0x7f) line[i] = '?';
    }
    line[used++] = '\n';
    [[maybe_unused]] ssize_t written = ::write(STDERR_FILENO, line, used);
}

void write_hint(const char* code) {
    for (const Hint& hint : kHints) {
        if (std::strcmp(hint.code, code) != 0) continue;
        char line[256];
        const int size = std::snprintf(line, sizeof line - 1, "  hint: %s", hint.text);
        write_line(line, static_cast<size_t>(size));
    }
}

}  // namespace

void tell_errors_to_people(const char* program) { program_for_people = program; }

int fail(ExitStatus status, const char* code, const char* format, ...) {
    char line[4608];
    int prefix = program_for_people != nullptr ? std::snprintf(line, sizeof line, "%.100s: ", program_for_people)
                                               : std::snprintf(line, sizeof line, "templatefs-engine: %s: ", code);
    auto used = static_cast<size_t>(prefix);
    va_list arguments;
    va_start(arguments, format);
    int wanted = std::vsnprintf(line + used, sizeof line - used - 1, format, arguments);
    va_end(arguments);
    if (wanted > 0) used = std::strlen(line);
    write_line(line, used);
    if (program_for_people != nullptr) write_hint(code);
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
