// The measured process: one verb, once, timed from inside, so that the start of the process is not part of the figure.
//
//   driver VERB ARG...          one of the verbs below; what each does stands at its function
//   driver run PROGRAM ARG...   runs a program with its output to /dev/null; its start IS part of the figure
//   driver nothing              only starts and ends, so that its own pages are in memory
//
// Prints one line of JSON: {"ns":N,...}. Everything but ns is the same for all peers that show the same root.
//
// Plain system calls with one buffer: what it costs itself is small and the same for every peer. (A reader in Node.js
// costs some 20 µs a file of its own, which would hide half of the differences that are to be seen.)

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <string>

#include "measured.h"

extern char** environ;

namespace {

struct Verb {
    const char* name;
    int arguments;
    void (*run)(char** arguments);
};

constexpr Verb kVerbs[] = {
    {"read-root", 1, driver::read_root},       {"digest-root", 1, driver::digest_root},
    {"read", 3, driver::read_file},            {"read-random", 3, driver::read_random},
    {"map", 1, driver::map_file},              {"overwrite", 3, driver::overwrite},
    {"append", 2, driver::append},             {"fsync", 2, driver::fsync_writes},
    {"write-first", 2, driver::write_first},   {"stat", 3, driver::stat_list},
    {"stat-missing", 2, driver::stat_missing}, {"open-close", 2, driver::open_close},
    {"readlink", 2, driver::read_links},       {"getxattr", 2, driver::get_xattrs},
    {"list", 2, driver::list_folder},          {"create", 2, driver::create_files},
    {"rename", 2, driver::rename_files},       {"unlink", 2, driver::unlink_files},
    {"setxattr", 2, driver::set_xattrs},       {"make-tree", 3, driver::make_tree},
    {"resident", 1, driver::resident},
};

int run_program(char** arguments) {
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    std::uint64_t start = driver::now_ns();
    pid_t child = 0;
    errno = ::posix_spawnp(&child, arguments[0], &actions, nullptr, arguments, environ);
    if (errno != 0) driver::fail("cannot run", arguments[0]);
    int status = 0;
    if (::waitpid(child, &status, 0) < 0) driver::fail("cannot wait for", arguments[0]);
    std::uint64_t end = driver::now_ns();
    ::posix_spawn_file_actions_destroy(&actions);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        std::fprintf(stderr, "driver: %s ended with status %d\n", arguments[0], status);
        return 1;
    }
    driver::print_sample(end - start, {});
    return 0;
}

}  // namespace

int main(int count, char** arguments) {
    std::string verb = count > 1 ? arguments[1] : "";
    if (verb == "run" && count > 2) return run_program(arguments + 2);
    if (verb == "nothing" && count == 2) {
        driver::print_sample(1, {});
        return 0;
    }
    for (const Verb& known : kVerbs) {
        if (verb != known.name || count != known.arguments + 2) continue;
        known.run(arguments + 2);
        return 0;
    }
    std::fprintf(stderr, "usage: driver run PROGRAM ARG...");
    for (const Verb& known : kVerbs) std::fprintf(stderr, " | %s (%d arguments)", known.name, known.arguments);
    std::fprintf(stderr, "\n");
    return 2;
}
