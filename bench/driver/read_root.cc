// Reads everything below a folder: names, metadata and content.

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "measured.h"

namespace driver {
namespace {

constexpr std::size_t kReadBytes = 128 * 1024;  // what cp and cat use

// FNV-1a over 8 bytes at a time; to tell roots apart, not to withstand anybody.
class Digest {
public:
    void add(const void* bytes, std::size_t size) {
        const auto* at = static_cast<const unsigned char*>(bytes);
        for (; size >= 8; at += 8, size -= 8) {
            std::uint64_t word = 0;
            std::memcpy(&word, at, 8);
            step(word);
        }
        for (; size > 0; ++at, --size) step(*at);
    }
    void add(std::uint64_t word) { step(word); }
    [[nodiscard]] std::uint64_t value() const { return value_; }

private:
    void step(std::uint64_t word) {
        value_ = (value_ ^ word) * 0x100000001b3U;
        value_ ^= value_ >> 29U;
    }
    std::uint64_t value_ = 0xcbf29ce484222325U;
};

struct Totals {
    std::uint64_t files = 0;
    std::uint64_t folders = 0;
    std::uint64_t others = 0;
    std::uint64_t bytes = 0;
    std::uint64_t digest = 0;  // a sum, so that the order of folders does not matter
};

class RootReader {
public:
    explicit RootReader(bool digest) : digest_(digest), buffer_(kReadBytes) {}

    void read_folder(int parent, const char* name, const std::string& path) {
        int fd = ::openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0) fail("cannot open", path);
        DIR* folder = ::fdopendir(fd);
        if (folder == nullptr) fail("cannot list", path);
        ++totals_.folders;
        for (;;) {
            errno = 0;
            const dirent* entry = ::readdir(folder);
            if (entry == nullptr) {
                if (errno != 0) fail("cannot list", path);
                break;
            }
            if (std::strcmp(entry->d_name, ".") == 0 || std::strcmp(entry->d_name, "..") == 0) continue;
            read_entry(fd, *entry, path + "/" + entry->d_name);
        }
        ::closedir(folder);
    }

    [[nodiscard]] const Totals& totals() const { return totals_; }

private:
    void read_entry(int folder, const dirent& entry, const std::string& path) {
        unsigned char type = entry.d_type;
        struct stat status {};
        if (digest_ || type == DT_UNKNOWN) {
            if (::fstatat(folder, entry.d_name, &status, AT_SYMLINK_NOFOLLOW) < 0) fail("cannot stat", path);
            type = static_cast<unsigned char>(IFTODT(status.st_mode));
        }
        Digest digest;
        if (digest_) add_metadata(digest, path, status);
        if (type == DT_DIR) {
            read_folder(folder, entry.d_name, path);
        } else if (type == DT_REG) {
            read_file(folder, entry.d_name, path, digest);
        } else {
            ++totals_.others;
            if (digest_ && type == DT_LNK) {
                ssize_t length = ::readlinkat(folder, entry.d_name, buffer_.data(), buffer_.size());
                if (length < 0) fail("cannot read link", path);
                digest.add(buffer_.data(), static_cast<std::size_t>(length));
            }
        }
        if (digest_) totals_.digest += digest.value();
    }

    // What every peer must show alike. Folder sizes, block counts and inode numbers are each file system's own.
    static void add_metadata(Digest& digest, const std::string& path, const struct stat& status) {
        digest.add(path.data(), path.size());
        digest.add(status.st_mode);
        digest.add(status.st_uid);
        digest.add(status.st_gid);
        digest.add(status.st_rdev);
        digest.add(static_cast<std::uint64_t>(status.st_mtim.tv_sec));
        if (!S_ISDIR(status.st_mode)) digest.add(static_cast<std::uint64_t>(status.st_size));
    }

    void read_file(int folder, const char* name, const std::string& path, Digest& digest) {
        int fd = ::openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0) fail("cannot open", path);
        for (;;) {
            ssize_t size = ::read(fd, buffer_.data(), buffer_.size());
            if (size < 0) fail("cannot read", path);
            if (size == 0) break;
            totals_.bytes += static_cast<std::uint64_t>(size);
            if (digest_) digest.add(buffer_.data(), static_cast<std::size_t>(size));
        }
        ::close(fd);
        ++totals_.files;
    }

    bool digest_;
    std::vector<char> buffer_;
    Totals totals_;
};

void read_all(const char* root, bool digest) {
    RootReader reader(digest);
    std::uint64_t start = now_ns();
    reader.read_folder(AT_FDCWD, root, "");
    std::uint64_t end = now_ns();
    const Totals& totals = reader.totals();
    std::printf("{\"ns\":%" PRIu64 ",\"files\":%" PRIu64 ",\"folders\":%" PRIu64 ",\"others\":%" PRIu64 ",\"bytes\":%" PRIu64,
                end - start, totals.files, totals.folders, totals.others, totals.bytes);
    if (digest) std::printf(",\"digest\":\"%016" PRIx64 "\"", totals.digest);
    std::printf("}\n");
}

}  // namespace

// ROOT
void read_root(char** arguments) { read_all(arguments[0], false); }

// ROOT: the same with a digest of names, metadata and content; not for timing
void digest_root(char** arguments) { read_all(arguments[0], true); }

}  // namespace driver
