#include "mount/mount_table.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>

#include "base/unique_fd.h"

namespace templatefs {
namespace {

// mountinfo writes space, tab, newline and backslash as three octal digits.
std::string unescape_octal(std::string_view text) {
    std::string plain;
    const auto digit = [&text](size_t at) { return at < text.size() && text[at] >= '0' && text[at] <= '7'; };
    for (size_t i = 0; i < text.size(); i++) {
        if (text[i] == '\\' && digit(i + 1) && digit(i + 2) && digit(i + 3)) {
            plain += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
            i += 3;
        } else {
            plain += text[i];
        }
    }
    return plain;
}

std::string_view take_field(std::string_view& line) {
    const size_t end = line.find(' ');
    const std::string_view field = line.substr(0, end);
    line.remove_prefix(end == std::string_view::npos ? line.size() : end + 1);
    return field;
}

// ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS [TAG]... - TYPE SOURCE OPTIONS
std::optional<MountEntry> parse_line(std::string_view line) {
    MountEntry entry;
    take_field(line);
    take_field(line);
    const std::string_view device = take_field(line);
    const size_t colon = device.find(':');
    if (colon == std::string_view::npos) return std::nullopt;
    const std::string_view minor = device.substr(colon + 1);
    if (std::from_chars(minor.data(), minor.data() + minor.size(), entry.minor).ec != std::errc()) return std::nullopt;
    take_field(line);
    entry.mountpoint = unescape_octal(take_field(line));
    take_field(line);
    while (!line.empty() && take_field(line) != "-") {
    }
    entry.type = take_field(line);
    if (entry.mountpoint.empty() || entry.type.empty()) return std::nullopt;
    return entry;
}

template <class Take>
void for_each_mount(std::string_view table, Take&& take) {
    while (!table.empty()) {
        const size_t end = table.find('\n');
        if (auto entry = parse_line(table.substr(0, end))) take(std::move(*entry));
        table.remove_prefix(end == std::string_view::npos ? table.size() : end + 1);
    }
}

bool look(const std::string& path, struct statx& stat) {
    return ::statx(AT_FDCWD, path.c_str(), AT_NO_AUTOMOUNT | AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC, STATX_TYPE, &stat) == 0 &&
           (stat.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

}  // namespace

std::optional<MountEntry> mount_on_top(std::string_view table, std::string_view mountpoint) {
    std::optional<MountEntry> found;
    for_each_mount(table, [&](MountEntry&& entry) {
        if (entry.mountpoint == mountpoint) found = std::move(entry);
    });
    return found;
}

std::optional<MountEntry> root_with_device(std::string_view table, uint32_t minor) {
    std::optional<MountEntry> found;
    for_each_mount(table, [&](MountEntry&& entry) {
        if (!found && entry.minor == minor && entry.type == kRootType) found = std::move(entry);
    });
    return found;
}

Result<std::string> read_mount_table(const std::string& process) {
    const std::string path = "/proc/" + process + "/mountinfo";
    UniqueFd file(TRY(checked(::open(path.c_str(), O_RDONLY | O_CLOEXEC))));
    std::string table;
    char buffer[16 * 1024];
    for (;;) {
        const ssize_t size = ::read(file.get(), buffer, sizeof buffer);
        if (size < 0 && errno == EINTR) continue;
        if (size < 0) return Errno::last();
        if (size == 0) return table;
        table.append(buffer, static_cast<size_t>(size));
    }
}

bool is_mount_root(const std::string& path) {
    struct statx stat;
    return look(path, stat);
}

bool is_mount_root_of(const std::string& path, uint32_t minor) {
    struct statx stat;
    return look(path, stat) && stat.stx_dev_major == 0 && stat.stx_dev_minor == minor;
}

}  // namespace templatefs
