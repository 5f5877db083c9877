#include "private/area.h"

#include <dirent.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <vector>

#include "base/proc.h"
#include "private/node_xattr.h"

namespace templatefs {
namespace {

Result<UniqueFd> open_or_make_folder(int parent, const char* name) {
    if (::mkdirat(parent, name, 0700) < 0 && errno != EEXIST) {
        const Errno error = Errno::last();
        // A read-only store still serves roots that are only read, a full one those that have been mounted before.
        if (error.value != EROFS && error.value != ENOSPC && error.value != EDQUOT) return error;
        auto there = open_at(parent, name, O_RDONLY | O_DIRECTORY);
        return there.error_code() == ENOENT ? error : std::move(there);
    }
    return open_at(parent, name, O_RDONLY | O_DIRECTORY);
}

// /proc/sys/kernel/random/boot_id, one line; empty when /proc is not there, which never equals a stored one.
std::string boot_id() {
    auto text = read_small_file(AT_FDCWD, proc_path("sys/kernel/random/boot_id").c_str());
    if (!text.ok()) return "";
    std::string id = text.take();
    while (!id.empty() && id.back() == '\n') id.pop_back();
    return id;
}

// private/<ct>, or private/.snapshots/<ct>/<id> for `ct@id`.
Result<UniqueFd> open_named(int store, const std::string& area) {
    UniqueFd folder = TRY(open_at(store, "private", O_RDONLY | O_DIRECTORY));
    const size_t at = area.find('@');
    const std::string container = area.substr(0, at);
    if (!is_container_name(container)) return Errno(ENOENT);
    if (at == std::string::npos) return open_at(folder.get(), container.c_str(), O_RDONLY | O_DIRECTORY);
    const std::string id = area.substr(at + 1);
    if (!is_container_name(id)) return Errno(ENOENT);
    folder = TRY(open_at(folder.get(), ".snapshots", O_RDONLY | O_DIRECTORY));
    folder = TRY(open_at(folder.get(), container.c_str(), O_RDONLY | O_DIRECTORY));
    return open_at(folder.get(), id.c_str(), O_RDONLY | O_DIRECTORY);
}

}  // namespace

InodeName::InodeName(uint64_t ino) { std::snprintf(text, sizeof text, "%08" PRIx64, ino); }

Result<PrivateArea> PrivateArea::open(int store, const std::string& container) {
    return open_base(TRY(open_named(store, container)));
}

Result<PrivateArea> PrivateArea::open_to_look(int store, const std::string& container) {
    PrivateArea area;
    area.base_ = TRY(open_named(store, container));
    area.settings_ = TRY(read_settings(area.base()));
    auto root = open_at(area.base(), "root", O_RDONLY | O_DIRECTORY);
    auto inodes = open_at(area.base(), "inodes", O_RDONLY | O_DIRECTORY);
    // A first mount that was cut short has made some of them.
    if (root.error_code() == ENOENT || inodes.error_code() == ENOENT) return area;
    area.root_ = TRY(std::move(root));
    area.inodes_ = TRY(std::move(inodes));
    return area;
}

Result<PrivateArea> PrivateArea::open_base(UniqueFd base) {
    PrivateArea area;
    area.base_ = std::move(base);
    area.settings_ = TRY(read_settings(area.base()));
    area.root_ = TRY(open_or_make_folder(area.base(), "root"));
    area.inodes_ = TRY(open_or_make_folder(area.base(), "inodes"));
    area.staging_ = TRY(open_or_make_folder(area.base(), "staging"));
    return area;
}

Result<UniqueFd> PrivateArea::lock() { return lock_area(base()); }

Result<UniqueFd> lock_area(int base) {
    auto opened = open_at(base, "lock", O_RDWR | O_CREAT, 0600);
    if (!opened.ok() && opened.error_code() == EROFS) opened = open_at(base, "lock", O_RDONLY);
    UniqueFd fd = TRY(std::move(opened));
    TRY(checked_void(::flock(fd.get(), LOCK_EX | LOCK_NB)));
    // When it was last taken: whoever reads an area that nobody serves sees afterwards whether somebody did meanwhile.
    (void)::futimens(fd.get(), nullptr);
    return fd;
}

Result<void> PrivateArea::clear_staging() { return remove_content(staging()); }

Result<InoRange> PrivateArea::load_inos() {
    InoRange range{kFirstPrivateIno, kFirstPrivateIno};
    auto text = read_small_file(base(), "inos");
    if (!text.ok()) {
        if (text.error_code() == ENOENT) return range;
        return text.error();
    }
    char boot[64] = "";
    if (std::sscanf(text.value().c_str(), "%" SCNu64 " %" SCNu64 " %63s", &range.next, &range.reserved, boot) < 2)
        return Errno(EUCLEAN);
    if (range.next < kFirstPrivateIno || range.reserved < range.next) return Errno(EUCLEAN);
    if (boot_id() != boot) range.next = range.reserved;
    return range;
}

Result<void> PrivateArea::store_inos(const InoRange& range, bool durably) {
    char line[128];
    std::string boot = boot_id();
    // Always as long, so that it can be overwritten: a rename without an fsync may leave an empty file after a power loss,
    // a few bytes of one block that are overwritten are the old ones or the new ones. Either will do.
    const int length = std::snprintf(line, sizeof line, "%20" PRIu64 " %20" PRIu64 " %s\n", range.next, range.reserved, boot.c_str());
    if (!durably) {
        UniqueFd fd = TRY(open_at(base(), "inos", O_RDWR));
        if (TRY(host_stat_of(fd.get())).stx_size == static_cast<uint64_t>(length)) {
            const ssize_t written = ::pwrite(fd.get(), line, static_cast<size_t>(length), 0);
            if (written < 0) return Errno::last();
            return written == length ? Result<void>() : Errno(EIO);
        }
    }
    return replace_file(base(), "inos", line, 0600, true);
}

Result<std::optional<StoredUsage>> PrivateArea::take_usage() {
    auto usage = TRY(peek_usage());
    auto removed = host_unlink({base(), "usage"});
    if (!removed.ok()) {
        if (removed.error_code() == ENOENT) return usage;
        return removed.error();
    }
    // Before anything is changed: after a power loss it must not come back.
    TRY(checked_void(::fsync(base())));
    return usage;
}

Result<std::optional<StoredUsage>> PrivateArea::peek_usage() {
    auto text = read_small_file(base(), "usage");
    if (!text.ok()) {
        if (text.error_code() == ENOENT) return std::optional<StoredUsage>();
        return text.error();
    }
    StoredUsage usage;
    uint64_t bytes = 0;
    const int fields = std::sscanf(text.value().c_str(), "templatefs-usage 1\ninodes %" SCNu64 "\nbytes %" SCNu64,
                                   &usage.inodes, &bytes);
    if (fields < 1) return std::optional<StoredUsage>();
    if (fields == 2) usage.bytes = bytes;
    return std::optional(usage);
}

Result<void> PrivateArea::store_usage(const StoredUsage& usage) {
    std::string text = "templatefs-usage 1\ninodes " + std::to_string(usage.inodes) + "\n";
    if (usage.bytes) text += "bytes " + std::to_string(*usage.bytes) + "\n";
    return replace_file(base(), "usage", text, 0600, true);
}

Result<void> remove_tree(Place place) {
    auto removed = host_unlink(place);
    if (removed.ok() || removed.error_code() == ENOENT) return {};
    if (removed.error_code() != EISDIR && removed.error_code() != EPERM) return removed;
    UniqueFd folder = TRY(open_at(place.folder, place.name, O_RDONLY | O_DIRECTORY));
    TRY(remove_content(folder.get()));
    return host_unlink(place, AT_REMOVEDIR);
}

Result<void> remove_content(int folder) {
    // A second descriptor: fdopendir takes it over, and the caller's keeps its position.
    UniqueFd own = TRY(open_at(folder, ".", O_RDONLY | O_DIRECTORY));
    DIR* stream = ::fdopendir(own.get());
    if (stream == nullptr) return Errno::last();
    own.release();
    Result<void> result;
    while (const dirent* entry = ::readdir(stream)) {
        if (std::strcmp(entry->d_name, ".") == 0 || std::strcmp(entry->d_name, "..") == 0) continue;
        auto removed = remove_tree({folder, entry->d_name});
        if (!removed.ok()) {
            ::closedir(stream);
            return removed;
        }
    }
    ::closedir(stream);
    return {};
}

}  // namespace templatefs
