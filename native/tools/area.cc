#include "tools/area.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/failure.h"
#include "inode/recount.h"
#include "private/area.h"
#include "private/host_quota.h"
#include "tools/area_copy_command.h"
#include "tools/area_stream_command.h"
#include "tools/options.h"

namespace templatefs {
namespace {

constexpr char kUsage[] =
    "area make DIR | area remove DIR | area exchange DIR DIR | area copy --store DIR --container CT[@ID] --to DIR"
    " | area pack DIR | area unpack DIR"
    " | area quota --store DIR --container CT [--size BYTES|none]";

int fail_with(Errno error, const char* what, const char* name) {
    return fail(kExitFailed, failure_code(error, "FAILED"), "cannot %s %s: %s", what, name, errno_text(error));
}

// Splits DIR into its parent, opened, and its last name.
Result<UniqueFd> open_parent(const std::string& path, std::string& name) {
    const size_t slash = path.rfind('/');
    if (slash == std::string::npos || slash + 1 == path.size()) return Errno(EINVAL);
    name = path.substr(slash + 1);
    // The administrator's own path: a symlink on the way is followed.
    UniqueFd parent(::open(slash == 0 ? "/" : path.substr(0, slash).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!parent.valid()) return Errno::last();
    return parent;
}

int make_or_remove(bool make, const char* path) {
    std::string name;
    auto parent = open_parent(path, name);
    const char* what = make ? "make" : "remove";
    if (!parent.ok()) return fail_with(parent.error(), what, path);
    auto done = make ? make_area_folder(parent.value().get(), name.c_str())
                     : remove_area_subvolume(parent.value().get(), name.c_str());
    return done.ok() ? int{kExitOk} : fail_with(done.error(), what, path);
}

// In one step each is where the other was.
int exchange(const char* one, const char* other) {
    if (::renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE) == 0) return kExitOk;
    return fail_with(Errno::last(), "exchange it with another folder:", one);
}

int show_quota(Options& options) {
    std::string store, container, size;
    const bool named = options.value("--store", store) && options.value("--container", container);
    const bool change = options.value("--size", size);
    if (!named || options.rest() != nullptr) return fail(kExitUsage, "USAGE", "%s", kUsage);
    UniqueFd folder(::open(store.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder.valid()) return fail_with(Errno::last(), "open the store", store.c_str());
    auto area = PrivateArea::open_to_look(folder.get(), container);
    if (!area.ok()) {
        if (area.error_code() == ENOENT) return fail(kExitNoContainer, "CONTAINER_NOT_FOUND", "no container %s", container.c_str());
        return fail_with(area.error(), "open the private area of", container.c_str());
    }
    const int base = area.value().base();
    HostQuota quota = HostQuota::probe(base);
    if (change) {
        char* end = nullptr;
        const uint64_t limit = size == "none" ? kNoLimit : std::strtoull(size.c_str(), &end, 10);
        if (end != nullptr && (*end != 0 || end == size.c_str())) return fail(kExitUsage, "USAGE", "%s", kUsage);
        if (quota.kind() != HostQuotaKind::None) {
            if (auto set = quota.set_limit(limit); !set.ok())
                return fail_with(set.error(), "set the host's quota for", container.c_str());
        }
    }
    auto stored = area.value().peek_usage();
    const bool known = stored.ok() && stored.value() && stored.value()->bytes;
    UsageTotals totals;
    if (known) {
        totals = {*stored.value()->bytes, stored.value()->inodes};
    } else if (area.value().is_untouched()) {
        totals.inodes = 1;  // the root
    } else {
        auto counted = recount(area.value());
        if (!counted.ok()) return fail_with(counted.error(), "count the private area of", container.c_str());
        totals = counted.value();
    }
    if (quota.kind() != HostQuotaKind::None) {
        if (auto used = quota.used(); used.ok()) totals.bytes = used.value();
    }
    std::printf("used_bytes %llu\nused_inodes %llu\nenforced_by %s\n", static_cast<unsigned long long>(totals.bytes),
                static_cast<unsigned long long>(totals.inodes), host_quota_name(quota.kind()));
    return kExitOk;
}

}  // namespace

int run_area(int argc, char** argv) {
    if (argc == 2 && std::strcmp(argv[0], "make") == 0) return make_or_remove(true, argv[1]);
    if (argc == 2 && std::strcmp(argv[0], "remove") == 0) return make_or_remove(false, argv[1]);
    if (argc == 3 && std::strcmp(argv[0], "exchange") == 0) return exchange(argv[1], argv[2]);
    if (argc >= 1 && std::strcmp(argv[0], "copy") == 0) return run_area_copy(argc - 1, argv + 1);
    if (argc >= 1 && std::strcmp(argv[0], "pack") == 0) return run_area_pack(argc - 1, argv + 1);
    if (argc >= 1 && std::strcmp(argv[0], "unpack") == 0) return run_area_unpack(argc - 1, argv + 1);
    if (argc >= 1 && std::strcmp(argv[0], "quota") == 0) {
        Options options(argc - 1, argv + 1);
        return show_quota(options);
    }
    return fail(kExitUsage, "USAGE", "%s", kUsage);
}

}  // namespace templatefs
