#include "private/change_mark.h"

#include <unistd.h>

#include <cinttypes>
#include <cstdio>

#include "base/proc.h"
#include "base/unique_fd.h"
#include "private/host.h"
#include "private/settings.h"

namespace templatefs {
namespace {

constexpr char kName[] = "changes";

std::string file_text(const ChangeMark& mark) { return "templatefs-changes 1\nmark " + mark.text() + "\n"; }

}  // namespace

std::string ChangeMark::text() const {
    char line[64];
    std::snprintf(line, sizeof line, "%016" PRIx64 "-%" PRIu64, id, sequence);
    return line;
}

Result<std::optional<ChangeMark>> read_change_mark(int base) {
    auto text = read_small_file(base, kName);
    if (!text.ok()) {
        if (text.error_code() == ENOENT) return std::optional<ChangeMark>();
        return text.error();
    }
    ChangeMark mark;
    const int fields = std::sscanf(text.value().c_str(), "templatefs-changes 1\nmark %16" SCNx64 "-%" SCNu64, &mark.id, &mark.sequence);
    // Cut short, or in any other form.
    if (fields != 2 || mark.id == 0 || text.value() != file_text(mark)) return std::optional<ChangeMark>();
    return std::optional(mark);
}

Result<void> store_change_mark(int base, const ChangeMark& mark) {
    return replace_file(base, kName, file_text(mark), 0600, true);
}

Result<void> remove_change_mark(int base) {
    auto removed = host_unlink({base, kName});
    if (!removed.ok() && removed.error_code() != ENOENT) return removed;
    return checked_void(::fsync(base));
}

}  // namespace templatefs
