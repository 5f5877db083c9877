#include "tools/scan.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/failure.h"
#include "base/output.h"
#include "private/area.h"
#include "private/node_xattr.h"
#include "tools/options.h"
#include "tree/tree_image.h"

namespace templatefs {
namespace {

std::string_view kind_of(const HostStat& stat, const std::optional<NodeInfo>& info) {
    switch (stat.stx_mode & S_IFMT) {
        case S_IFREG:
            if (info && info->is_partial()) return "partial";
            return info && info->is_link() ? "link" : "file";
        case S_IFDIR:
            return info && info->origin != kNoOrigin ? "merged" : "dir";
        case S_IFLNK:
            return "symlink";
        case S_IFCHR:
            return !info && is_whiteout_device(stat) ? "whiteout" : "char";
        case S_IFBLK:
            return "block";
        case S_IFIFO:
            return !info && is_whiteout_device(stat) ? "whiteout" : "fifo";
        default:
            return "socket";
    }
}

struct ScanOptions {
    bool keep_going = false;  // what cannot be read is a record of its own
    bool mend = false;        // and is mended where that is safe
};

class Scan {
public:
    Scan(PrivateArea& area, TreeImage& tree, ScanOptions options, Output& output)
        : area_(area), tree_(tree), options_(options), output_(output) {}

    Result<void> run() {
        Place root{area_.is_untouched() ? area_.base() : area_.root(), "."};
        auto info = TRY(read_node_info(root));
        // Before its first change the root folder is only the tree's.
        HostStat stat = TRY(host_stat(root));
        if (!info) {
            info.emplace();
            info->ino = 1;
            info->origin = 0;
            TreeNode node = TRY(tree_.node(0));
            stat.stx_mode = static_cast<uint16_t>(node.mode);
            stat.stx_uid = node.uid;
            stat.stx_gid = node.gid;
            stat.stx_mtime.tv_sec = node.mtime_sec;
            stat.stx_mtime.tv_nsec = node.mtime_nsec;
        }
        record("/", stat, info);
        if (area_.is_untouched()) return {};
        TRY(walk());
        return indexed();
    }

private:
    // A folder on the way down: what is left to do in it, and which inode it is.
    struct Level {
        std::string name;
        uint64_t ino = 0;
        std::vector<std::string> folders;
    };

    // Depth first with one descriptor, however deep a container has nested its folders: down by name, up by "..".
    Result<void> walk() {
        UniqueFd fd = TRY(open_at(area_.root(), ".", O_RDONLY | O_DIRECTORY));
        way_.push_back(TRY(level(fd.get(), "")));
        while (!way_.empty()) {
            if (way_.back().folders.empty()) {
                path_.resize(path_.size() - std::min(path_.size(), way_.back().name.size() + 1));
                way_.pop_back();
                if (!way_.empty()) TRY(go_up(fd));
                continue;
            }
            std::string name = std::move(way_.back().folders.back());
            way_.back().folders.pop_back();
            auto opened = open_at(fd.get(), name.c_str(), O_RDONLY | O_DIRECTORY);
            if (!opened.ok()) {
                if (opened.error_code() == ENOENT || opened.error_code() == ENOTDIR) continue;
                if (!options_.keep_going) return opened.error();
                broken("broken", shown_path(way_.back().name) + "/" + name, HostStat{}, opened.error());
                continue;
            }
            fd = opened.take();
            path_ += "/" + name;
            way_.push_back(TRY(level(fd.get(), std::move(name))));
        }
        return {};
    }

    // The container may have moved a folder that we are in, and its ".." would lead anywhere, also out of the area: then
    // the way is gone again from the top, as far as it is still there.
    Result<void> go_up(UniqueFd& fd) {
        auto above = open_at(fd.get(), "..", O_RDONLY | O_DIRECTORY);
        if (above.ok() && TRY(host_stat_of(above.value().get())).stx_ino == way_.back().ino) {
            fd = above.take();
            return {};
        }
        fd = TRY(open_at(area_.root(), ".", O_RDONLY | O_DIRECTORY));
        path_.clear();
        for (size_t depth = 1; depth < way_.size(); depth++) {
            auto next = open_at(fd.get(), way_[depth].name.c_str(), O_RDONLY | O_DIRECTORY);
            if (!next.ok() || TRY(host_stat_of(next.value().get())).stx_ino != way_[depth].ino) {
                way_.resize(depth);
                break;
            }
            fd = next.take();
            path_ += "/" + way_[depth].name;
        }
        return {};
    }

    // Records what is in a folder.
    Result<Level> level(int folder, std::string name) {
        Level here;
        here.name = std::move(name);
        here.ino = TRY(host_stat_of(folder)).stx_ino;
        UniqueFd fd = TRY(open_at(folder, ".", O_RDONLY | O_DIRECTORY));
        DIR* stream = ::fdopendir(fd.get());
        if (stream == nullptr) return Errno::last();
        fd.release();
        std::unique_ptr<DIR, int (*)(DIR*)> closer(stream, ::closedir);
        const std::string shown = shown_path(here.name);
        // A folder that cannot be read to its end looks shorter than it is.
        errno = 0;
        for (const dirent* entry = ::readdir(stream); entry != nullptr; errno = 0, entry = ::readdir(stream)) {
            if (std::strcmp(entry->d_name, ".") == 0 || std::strcmp(entry->d_name, "..") == 0) continue;
            Place place{::dirfd(stream), entry->d_name};
            auto stat = host_stat(place);
            if (!stat.ok() && stat.error_code() == ENOENT) continue;  // the container removed it meanwhile
            const std::string path = shown + "/" + entry->d_name;
            if (!stat.ok() && options_.keep_going) {
                broken("broken", path, HostStat{}, stat.error());
                continue;
            }
            HostStat found = TRY(std::move(stat));
            auto read = read_checked(place, found);
            if (!read.ok() && read.error_code() == ENOENT) continue;
            if (!read.ok() && options_.keep_going) {
                const bool mended = options_.mend && mend(place, found, read.error());
                broken(mended ? "mended" : "broken", path, found, read.error());
                if (S_ISDIR(found.stx_mode)) here.folders.emplace_back(entry->d_name);
                continue;
            }
            auto info = TRY(std::move(read));
            if (info && info->indexed && !S_ISDIR(found.stx_mode)) note_name(info->ino);
            record(path, found, info);
            if (S_ISDIR(found.stx_mode)) here.folders.emplace_back(entry->d_name);
        }
        if (errno != 0) {
            if (!options_.keep_going) return Errno::last();
            broken("broken", shown.empty() ? "/" : shown, HostStat{}, Errno::last());
        }
        // From the back, in the order of the host.
        std::reverse(here.folders.begin(), here.folders.end());
        return here;
    }

    // No program can name what lies so deep, and all the paths of a very deep folder would be as long as its depth squared.
    std::string shown_path(const std::string& name) const {
        constexpr size_t kLongest = 2 * PATH_MAX;
        if (path_.size() <= kLongest) return path_;
        return path_.substr(0, PATH_MAX) + "/.../" + name;
    }

    // Inodes that no path in root/ leads to: hard links that are only in the tree, and unlinked files that are open.
    Result<void> indexed() {
        UniqueFd fd = TRY(open_at(area_.inodes(), ".", O_RDONLY | O_DIRECTORY));
        DIR* stream = ::fdopendir(fd.get());
        if (stream == nullptr) return Errno::last();
        fd.release();
        std::unique_ptr<DIR, int (*)(DIR*)> closer(stream, ::closedir);
        std::sort(named_.begin(), named_.end());
        while (const dirent* entry = ::readdir(stream)) {
            if (entry->d_name[0] == '.') continue;
            Place place{::dirfd(stream), entry->d_name};
            auto stat = host_stat(place);
            if (!stat.ok() && stat.error_code() == ENOENT) continue;
            std::string path = std::string("inode:") + entry->d_name;
            auto read = stat.ok() ? read_checked(place, stat.value()) : Result<std::optional<NodeInfo>>(stat.error());
            if (!read.ok() && read.error_code() == ENOENT) continue;
            if (!read.ok() && options_.keep_going) {
                broken("broken", path, stat.ok() ? stat.value() : HostStat{}, read.error());
                continue;
            }
            auto info = TRY(std::move(read));
            if (!info || std::binary_search(named_.begin(), named_.end(), info->ino)) continue;
            if (info->tree_links > 0 && info->origin != kNoOrigin) path = TRY(tree_path(info->origin));
            record(path, stat.value(), info);
        }
        return {};
    }

    Result<std::string> tree_path(NodeIndex index) {
        std::string path;
        for (uint32_t depth = 0; index != 0; depth++) {
            if (depth > tree_.node_count()) return Errno(EUCLEAN);
            TreeNode node = TRY(tree_.node(index));
            TreeNode parent = TRY(tree_.node(node.parent));
            std::string_view name;
            for (uint32_t i = 0; i < parent.data_b && name.empty(); i++) {
                TreeEntry entry = TRY(tree_.entry(parent, i));
                if (entry.node == index) name = entry.name;
            }
            path = "/" + std::string(name) + path;
            index = node.parent;
        }
        return path;
    }

    // The node xattr; EUCLEAN also when what it says of the tree cannot be.
    Result<std::optional<NodeInfo>> read_checked(Place place, const HostStat& stat) {
        auto info = TRY(read_node_info(place));
        if (!options_.keep_going || !info) return info;
        if (info->has_object() && !S_ISREG(stat.stx_mode)) return Errno(EUCLEAN);
        if (info->origin == kNoOrigin) return info;
        if (info->origin >= tree_.node_count()) return Errno(EUCLEAN);
        TreeNode origin = TRY(tree_.node(info->origin));
        if (origin.is_dir() != S_ISDIR(stat.stx_mode)) return Errno(EUCLEAN);
        return info;
    }

    // Without its node xattr an entry is an ordinary private one, which gets a new inode number when it is next looked up.
    // That is safe where nothing else can have stood in the xattr: no object that shows through holes, no other name, no
    // tree folder below.
    bool mend(Place place, const HostStat& stat, Errno error) {
        if (error.value != EUCLEAN || stat.stx_nlink != 1 || S_ISDIR(stat.stx_mode)) return false;
        if (is_whiteout_device(stat)) return false;
        if (S_ISREG(stat.stx_mode) && stat.stx_size > 0) {
            auto fd = open_at(place.folder, place.name, O_RDONLY);
            if (!fd.ok()) return false;
            const off_t hole = ::lseek(fd.value().get(), 0, SEEK_HOLE);
            if (hole < 0 || static_cast<uint64_t>(hole) != stat.stx_size) return false;
        }
        return host_removexattr(place, kNodeXattr).ok();
    }

    // What cannot be read, with the reason in the last field.
    void broken(std::string_view kind, const std::string& path, const HostStat& stat, Errno error) {
        char text[96];
        field(kind);
        field(path);
        field("0");
        std::snprintf(text, sizeof text, "%o %u %u", stat.stx_mode, stat.stx_uid, stat.stx_gid);
        field(text);
        std::snprintf(text, sizeof text, "%llu", static_cast<unsigned long long>(stat.stx_size));
        field(text);
        std::snprintf(text, sizeof text, "%llu", static_cast<unsigned long long>(stat.stx_blocks) * 512);
        field(text);
        field("0.0");
        field("-");
        field("-");
        field("0");
        field(error.value == EUCLEAN ? "its node xattr is no valid one" : errno_text(error));
        output_.put('\0');
    }

    void note_name(uint64_t ino) { named_.push_back(ino); }

    void field(std::string_view text) {
        output_.put(text);
        output_.put('\0');
    }

    void record(const std::string& path, const HostStat& stat, const std::optional<NodeInfo>& info) {
        char text[96];
        field(kind_of(stat, info));
        field(path);
        std::snprintf(text, sizeof text, "%llu", info ? static_cast<unsigned long long>(info->ino) : 0ULL);
        field(text);
        std::snprintf(text, sizeof text, "%o %u %u", stat.stx_mode, stat.stx_uid, stat.stx_gid);
        field(text);
        std::snprintf(text, sizeof text, "%llu", static_cast<unsigned long long>(stat.stx_size));
        field(text);
        std::snprintf(text, sizeof text, "%llu", static_cast<unsigned long long>(stat.stx_blocks) * 512);
        field(text);
        std::snprintf(text, sizeof text, "%lld.%09u", static_cast<long long>(stat.stx_mtime.tv_sec), stat.stx_mtime.tv_nsec);
        field(text);
        if (info && info->origin != kNoOrigin) std::snprintf(text, sizeof text, "%u", info->origin);
        else std::strcpy(text, "-");
        field(text);
        if (info && info->has_object()) {
            ObjectPath object = object_path(info->object);
            // "xx/yyyy…" without the slash
            field(std::string(object.text, 2) + (object.text + 3));
        } else {
            field("-");
        }
        unsigned indexed = info && info->indexed ? 1 : 0;
        std::snprintf(text, sizeof text, "%u", stat.stx_nlink - indexed + (info ? info->tree_links : 0));
        field(text);
        if (options_.keep_going) {
            if (info && info->has_object())
                std::snprintf(text, sizeof text, "%llu", static_cast<unsigned long long>(info->object.size));
            else std::strcpy(text, "-");
            field(text);
        }
        output_.put('\0');
    }

    PrivateArea& area_;
    TreeImage& tree_;
    ScanOptions options_;
    Output& output_;
    std::vector<uint64_t> named_;
    std::vector<Level> way_;
    std::string path_;
};

// Why a container could not be listed.
struct Refusal {
    ExitStatus status;
    const char* code;
    std::string text;
};

Refusal refuse(ExitStatus status, const char* code, std::string what, Errno error) {
    return Refusal{status, code, std::move(what) + ": " + errno_text(error)};
}

std::optional<Refusal> scan_container(int store, const std::string& container, ScanOptions how, Output& output) {
    const std::string of_area = "the private area of " + container;
    auto area = how.mend ? PrivateArea::open(store, container) : PrivateArea::open_to_look(store, container);
    if (area.error_code() == ENOENT) return Refusal{kExitNoContainer, "CONTAINER_NOT_FOUND", "no container " + container};
    if (!area.ok())
        return refuse(area.error_code() == EUCLEAN ? kExitIntegrity : kExitFailed, failure_code(area.error(), "INTEGRITY"),
                      "cannot open " + of_area, area.error());
    UniqueFd lock;
    if (how.mend) {
        auto taken = area.value().lock();
        if (taken.error_code() == EWOULDBLOCK) return Refusal{kExitBusy, "BUSY", container + " is mounted"};
        if (!taken.ok()) return refuse(kExitFailed, failure_code(taken.error(), "FAILED"), "cannot lock " + of_area, taken.error());
        lock = taken.take();
    }
    const std::string& digest = area.value().settings().tree;
    auto trees = open_at(store, "trees", O_RDONLY | O_DIRECTORY);
    auto tree = trees.ok() ? TreeImage::open(trees.value().get(), digest.c_str()) : Result<TreeImage>(trees.error());
    if (!tree.ok()) return refuse(kExitIntegrity, "BAD_TREE", "cannot open tree " + digest, tree.error());
    auto done = Scan(area.value(), tree.value(), how, output).run();
    if (done.ok()) return std::nullopt;
    return refuse(done.error_code() == EUCLEAN ? kExitIntegrity : kExitFailed, failure_code(done.error(), "INTEGRITY"),
                  "cannot read " + of_area, done.error());
}

// After the records of each of several containers.
void put_end(Output& output, const std::string& container, const std::optional<Refusal>& refusal) {
    const std::string_view fields[] = {"end", container, refusal ? refusal->code : "-", refusal ? std::string_view(refusal->text) : "-"};
    for (const std::string_view field : fields) {
        output.put(field);
        output.put('\0');
    }
    output.put('\0');
}

}  // namespace

int run_scan(int argc, char** argv) {
    Options options(argc, argv);
    std::string store;
    std::vector<std::string> containers;
    const bool named = options.value("--store", store);
    for (std::string name; options.value("--container", name);) containers.push_back(name);
    ScanOptions how;
    how.keep_going = options.flag("--keep-going");
    how.mend = options.flag("--mend");
    if (!named || containers.empty() || options.rest() != nullptr || (how.mend && !how.keep_going))
        return fail(kExitUsage, "USAGE", "scan --store DIR --container CT... [--keep-going [--mend]]");
    UniqueFd folder(::open(store.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder.valid()) return fail(kExitFailed, "FAILED", "cannot open the store %s: %s", store.c_str(), std::strerror(errno));
    Output output(STDOUT_FILENO);
    for (const std::string& container : containers) {
        const auto refusal = scan_container(folder.get(), container, how, output);
        if (containers.size() > 1) put_end(output, container, refusal);
        else if (refusal) return fail(refusal->status, refusal->code, "%s", refusal->text.c_str());
    }
    auto written = output.flush();
    if (!written.ok()) return fail(kExitFailed, "FAILED", "cannot write the records: %s", errno_text(written.error()));
    return 0;
}

}  // namespace templatefs
