#include "private/settings.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/unique_fd.h"

namespace templatefs {
namespace {

int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

bool is_digest(std::string_view text) {
    if (text.size() != 64) return false;
    for (char c : text)
        if (hex_digit(c) < 0) return false;
    return true;
}

Result<uint64_t> parse_number(std::string_view text) {
    if (text.empty() || text.size() > 15) return Errno(EUCLEAN);
    uint64_t number = 0;
    for (char c : text) {
        if (c < '0' || c > '9') return Errno(EUCLEAN);
        number = number * 10 + static_cast<uint64_t>(c - '0');
    }
    return number;
}

// Calls `take(key, value)` for each line of a `key value` file after the first, which is `magic 1`. EUCLEAN for a file of
// another form, and for whatever `take` refuses.
template <class Take>
Result<void> for_each_line(std::string_view text, std::string_view magic, Take&& take) {
    bool first = true;
    while (!text.empty()) {
        size_t end = text.find('\n');
        if (end == std::string_view::npos) return Errno(EUCLEAN);
        std::string_view line = text.substr(0, end);
        text.remove_prefix(end + 1);
        size_t space = line.find(' ');
        if (space == std::string_view::npos) return Errno(EUCLEAN);
        std::string_view key = line.substr(0, space);
        std::string value = TRY(unescape_value(line.substr(space + 1)));
        if (first && (key != magic || value != "1")) return Errno(EUCLEAN);
        if (!first && !take(key, std::move(value)).ok()) return Errno(EUCLEAN);
        first = false;
    }
    if (first) return Errno(EUCLEAN);
    return {};
}

// One `shared` line: a path, or `none` in the place of all.
Result<void> add_shared_path(std::optional<SharedPaths>& paths, std::string value) {
    if (!paths) paths.emplace();
    if (value == "none") return {};
    while (value.size() > 1 && value.back() == '/') value.pop_back();
    if (value.empty() || value[0] != '/') return Errno(EUCLEAN);
    paths->push_back(std::move(value));
    return {};
}

// The `shared` lines of a template record or of the store's config; nullopt when there is no such file or no such line.
Result<std::optional<SharedPaths>> shared_paths_of(int folder, const char* name, std::string_view magic) {
    std::optional<SharedPaths> paths;
    auto text = read_small_file(folder, name);
    if (!text.ok()) {
        if (text.error_code() == ENOENT || text.error_code() == ENOTDIR) return paths;
        return text.error();
    }
    TRY(for_each_line(text.value(), magic, [&](std::string_view key, std::string&& value) -> Result<void> {
        if (key != "shared") return {};
        return add_shared_path(paths, std::move(value));
    }));
    return paths;
}

}  // namespace

bool is_container_name(std::string_view name) {
    const auto is_alphanumeric = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); };
    if (name.empty() || name.size() > 128 || !is_alphanumeric(name[0])) return false;
    return std::all_of(name.begin(), name.end(), [&](char c) { return is_alphanumeric(c) || c == '_' || c == '.' || c == '+' || c == '-'; });
}

std::string escape_value(std::string_view value) {
    static constexpr char digits[] = "0123456789ABCDEF";
    std::string escaped;
    for (char c : value) {
        auto byte = static_cast<unsigned char>(c);
        if (byte < 0x20 || byte > 0x7e || c == '%') {
            escaped += '%';
            escaped += digits[byte >> 4];
            escaped += digits[byte & 15];
        } else {
            escaped += c;
        }
    }
    return escaped;
}

Result<std::string> unescape_value(std::string_view value) {
    std::string plain;
    for (size_t i = 0; i < value.size(); i++) {
        if (value[i] != '%') {
            plain += value[i];
            continue;
        }
        if (i + 2 >= value.size()) return Errno(EUCLEAN);
        int high = hex_digit(value[i + 1]);
        int low = hex_digit(value[i + 2]);
        if (high < 0 || low < 0) return Errno(EUCLEAN);
        plain += static_cast<char>(high * 16 + low);
        i += 2;
    }
    return plain;
}

Result<ContainerSettings> parse_settings(std::string_view text) {
    ContainerSettings settings;
    TRY(for_each_line(text, "templatefs-container", [&](std::string_view key, std::string&& value) -> Result<void> {
        if (key == "name") settings.name = std::move(value);
        else if (key == "template") settings.template_name = std::move(value);
        else if (key == "tree") settings.tree = std::move(value);
        else if (key == "shared") TRY(add_shared_path(settings.shared, std::move(value)));
        else if (key == "quota-size") settings.quota_bytes = TRY(parse_number(value));
        else if (key == "quota-inodes") settings.quota_inodes = TRY(parse_number(value));
        else if (key == "uid-map") settings.ids.uids.push_back(TRY(parse_id_range(value)));
        else if (key == "gid-map") settings.ids.gids.push_back(TRY(parse_id_range(value)));
        return {};
    }));
    if (settings.name.empty() || !is_digest(settings.tree) || !check_id_maps(settings.ids).ok()) return Errno(EUCLEAN);
    return settings;
}

Result<ContainerSettings> read_settings(int area) {
    std::string text = TRY(read_small_file(area, "container"));
    return parse_settings(text);
}

Result<SharedPaths> find_shared_paths(int store, const ContainerSettings& settings, std::string& broken) {
    if (settings.shared) return *settings.shared;
    // A name with a slash is nobody's; the record is looked for in templates/ only.
    if (!settings.template_name.empty() && settings.template_name.find('/') == std::string::npos) {
        broken = "templates/" + settings.template_name;
        if (auto paths = TRY(shared_paths_of(store, broken.c_str(), "templatefs-template"))) return *paths;
    }
    broken = "config";
    if (auto paths = TRY(shared_paths_of(store, "config", "templatefs-store"))) return *paths;
    broken.clear();
    return SharedPaths{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt"};
}

Result<std::string> read_small_file(int folder, const char* name) {
    constexpr size_t kLimit = 1 << 20;
    UniqueFd fd = TRY(open_at(folder, name, O_RDONLY));
    std::string content;
    char buffer[4096];
    for (;;) {
        ssize_t size = ::read(fd.get(), buffer, sizeof buffer);
        if (size < 0 && errno == EINTR) continue;
        if (size < 0) return Errno::last();
        if (size == 0) return content;
        content.append(buffer, static_cast<size_t>(size));
        if (content.size() > kLimit) return Errno(EFBIG);
    }
}

Result<void> replace_file(int folder, const char* name, std::string_view content, mode_t mode, bool sync) {
    std::string aside = std::string(name) + ".new";
    ::unlinkat(folder, aside.c_str(), 0);
    UniqueFd fd = TRY(open_at(folder, aside.c_str(), O_WRONLY | O_CREAT | O_EXCL, mode));
    auto written = [&]() -> Result<void> {
        while (!content.empty()) {
            ssize_t size = ::write(fd.get(), content.data(), content.size());
            if (size < 0 && errno == EINTR) continue;
            if (size < 0) return Errno::last();
            content.remove_prefix(static_cast<size_t>(size));
        }
        if (sync) TRY(checked_void(::fsync(fd.get())));
        return checked_void(::renameat(folder, aside.c_str(), folder, name));
    }();
    if (!written.ok()) {
        ::unlinkat(folder, aside.c_str(), 0);
        return written;
    }
    if (sync) TRY(checked_void(::fsync(folder)));
    return {};
}

}  // namespace templatefs
