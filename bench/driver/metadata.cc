// Names and attributes: one loop for each verb. Paths are whole ones, as programs have them.

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "measured.h"

namespace driver {
namespace {

std::vector<std::string> paths_of(const char* root, const char* list, const char* suffix = "") {
    std::vector<std::string> paths;
    for (const std::string& name : read_list(list)) paths.push_back(std::string(root) + "/" + name + suffix);
    return paths;
}

/// Does something with each path; first once without the clock, if the caches are to be warm.
template <typename Each>
void time_each(const std::vector<std::string>& paths, bool warm, const char* what, Each each) {
    if (warm) for (const std::string& path : paths) each(path);
    std::uint64_t start = now_ns();
    for (const std::string& path : paths) each(path);
    print_sample(now_ns() - start, {{what, paths.size()}});
}

std::string name_of(std::uint64_t number) { return "f" + std::to_string(number); }

void create_all(const WorkFolder& folder, std::uint64_t count) {
    static const char content[4096] = {'x'};
    for (std::uint64_t at = 0; at < count; ++at) {
        int fd = ::openat(folder.fd(), name_of(at).c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (fd < 0) fail("cannot create a file in", folder.path());
        if (::write(fd, content, sizeof content) != sizeof content) fail("cannot write to a file in", folder.path());
        ::close(fd);
    }
}

std::uint64_t entries_of(const char* path) {
    DIR* folder = ::opendir(path);
    if (folder == nullptr) fail("cannot list", path);
    std::uint64_t entries = 0;
    errno = 0;
    // Not every file system lists itself and its parent.
    while (const dirent* entry = ::readdir(folder)) {
        if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0) ++entries;
    }
    if (errno != 0) fail("cannot list", path);
    ::closedir(folder);
    return entries;
}

}  // namespace

// ROOT LIST cold|warm
void stat_list(char** arguments) {
    time_each(paths_of(arguments[0], arguments[1]), arguments[2][0] == 'w', "files", [](const std::string& path) {
        struct stat status {};
        if (::lstat(path.c_str(), &status) < 0) fail("cannot stat", path);
    });
}

// ROOT LIST: names beside those of the list that do not exist
void stat_missing(char** arguments) {
    time_each(paths_of(arguments[0], arguments[1], ".none"), true, "files", [](const std::string& path) {
        struct stat status {};
        if (::lstat(path.c_str(), &status) == 0 || errno != ENOENT) fail("should not exist", path);
    });
}

// ROOT LIST
void open_close(char** arguments) {
    time_each(paths_of(arguments[0], arguments[1]), true, "files", [](const std::string& path) {
        int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
        if (fd < 0) fail("cannot open", path);
        ::close(fd);
    });
}

// ROOT LIST
void read_links(char** arguments) {
    time_each(paths_of(arguments[0], arguments[1]), true, "links", [](const std::string& path) {
        char target[4096];
        if (::readlink(path.c_str(), target, sizeof target) < 0) fail("cannot read link", path);
    });
}

// ROOT LIST: what ls -l and cp -a ask of each file, which mostly has none
void get_xattrs(char** arguments) {
    time_each(paths_of(arguments[0], arguments[1]), true, "files", [](const std::string& path) {
        char value[256];
        if (::lgetxattr(path.c_str(), "security.capability", value, sizeof value) < 0 && errno != ENODATA) fail("cannot read xattr", path);
    });
}

// FOLDER cold|warm
void list_folder(char** arguments) {
    if (arguments[1][0] == 'w') entries_of(arguments[0]);
    std::uint64_t start = now_ns();
    std::uint64_t entries = entries_of(arguments[0]);
    print_sample(now_ns() - start, {{"entries", entries}});
}

// FOLDER COUNT
void create_files(char** arguments) {
    WorkFolder folder(arguments[0]);
    std::uint64_t count = number(arguments[1]);
    std::uint64_t start = now_ns();
    create_all(folder, count);
    print_sample(now_ns() - start, {{"files", count}});
}

// FOLDER COUNT
void rename_files(char** arguments) {
    WorkFolder folder(arguments[0]);
    std::uint64_t count = number(arguments[1]);
    create_all(folder, count);
    std::uint64_t start = now_ns();
    for (std::uint64_t at = 0; at < count; ++at) {
        if (::renameat(folder.fd(), name_of(at).c_str(), folder.fd(), ("to-" + name_of(at)).c_str()) < 0) fail("cannot rename in", folder.path());
    }
    print_sample(now_ns() - start, {{"files", count}});
}

// FOLDER COUNT
void unlink_files(char** arguments) {
    WorkFolder folder(arguments[0]);
    std::uint64_t count = number(arguments[1]);
    create_all(folder, count);
    std::uint64_t start = now_ns();
    for (std::uint64_t at = 0; at < count; ++at) {
        if (::unlinkat(folder.fd(), name_of(at).c_str(), 0) < 0) fail("cannot remove in", folder.path());
    }
    print_sample(now_ns() - start, {{"files", count}});
}

// FOLDER COUNT
void set_xattrs(char** arguments) {
    WorkFolder folder(arguments[0]);
    std::uint64_t count = number(arguments[1]);
    create_all(folder, count);
    std::vector<std::string> paths;
    for (std::uint64_t at = 0; at < count; ++at) paths.push_back(folder.path() + "/" + name_of(at));
    std::uint64_t start = now_ns();
    for (const std::string& path : paths) {
        if (::lsetxattr(path.c_str(), "user.checksum", "0123456789abcdef", 16, 0) < 0) fail("cannot set xattr", path);
    }
    print_sample(now_ns() - start, {{"files", count}});
}

// FOLDER FOLDERS FILES: FOLDERS folders with FILES empty files each; not for timing
void make_tree(char** arguments) {
    std::uint64_t folders = number(arguments[1]);
    std::uint64_t files = number(arguments[2]);
    std::uint64_t start = now_ns();
    for (std::uint64_t at = 0; at < folders; ++at) {
        std::string path = std::string(arguments[0]) + "/d" + std::to_string(at);
        if (::mkdir(path.c_str(), 0755) < 0) fail("cannot make", path);
        int folder = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (folder < 0) fail("cannot open", path);
        for (std::uint64_t file = 0; file < files; ++file) {
            int fd = ::openat(folder, name_of(file).c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
            if (fd < 0) fail("cannot create a file in", path);
            ::close(fd);
        }
        ::close(folder);
    }
    print_sample(now_ns() - start, {{"files", folders * files}});
}

}  // namespace driver
