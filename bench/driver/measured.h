// What all verbs of the driver share: the clock, giving up, and the line of JSON that a verb ends with.
#pragma once

#include <cinttypes>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

namespace driver {

/// Says what could not be done and why (errno), and ends the process with status 1.
[[noreturn]] void fail(const char* what, const std::string& path);

std::uint64_t now_ns();

/// Prints {"ns":…,…}. Everything but ns is what was done, and the same for all peers.
void print_sample(std::uint64_t ns, std::initializer_list<std::pair<const char*, std::uint64_t>> work);

/// Reads a file of lines: paths relative to a root.
std::vector<std::string> read_list(const char* file);

/// A number from the command line; anything else is a usage error.
std::uint64_t number(const char* text);

/// Numbers that look random and are the same in each run (xorshift64).
class Random {
public:
    std::uint64_t below(std::uint64_t bound) {
        state_ ^= state_ << 13U;
        state_ ^= state_ >> 7U;
        state_ ^= state_ << 17U;
        return state_ % bound;
    }

private:
    std::uint64_t state_ = 0x9e3779b97f4a7c15U;
};

/// A new folder for one run below `parent`, whose content and itself are removed at the end.
class WorkFolder {
public:
    explicit WorkFolder(const char* parent);
    ~WorkFolder();
    WorkFolder(const WorkFolder&) = delete;
    WorkFolder& operator=(const WorkFolder&) = delete;

    [[nodiscard]] int fd() const { return fd_; }
    [[nodiscard]] const std::string& path() const { return path_; }

private:
    std::string path_;
    int fd_;
};

// One function a verb; each gets the arguments behind the verb and prints its sample.
void read_file(char** arguments);
void read_random(char** arguments);
void map_file(char** arguments);
void overwrite(char** arguments);
void append(char** arguments);
void fsync_writes(char** arguments);
void write_first(char** arguments);

void stat_list(char** arguments);
void stat_missing(char** arguments);
void open_close(char** arguments);
void read_links(char** arguments);
void get_xattrs(char** arguments);
void list_folder(char** arguments);
void create_files(char** arguments);
void rename_files(char** arguments);
void unlink_files(char** arguments);
void set_xattrs(char** arguments);
void make_tree(char** arguments);

void resident(char** arguments);
void read_root(char** arguments);
void digest_root(char** arguments);

}  // namespace driver
