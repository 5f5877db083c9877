#include "tools/settled.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cstdio>
#include <vector>

#include "base/failure.h"
#include "base/unique_fd.h"
#include "control/engine_request.h"
#include "control/frame.h"
#include "private/change_mark.h"
#include "private/settings.h"
#include "tools/options.h"

namespace templatefs {
namespace {

constexpr std::string_view kHead = "templatefs-settled 1\n";
constexpr int kAnswerMs = 2000;

std::vector<std::string_view> words_of(std::string_view line) {
    std::vector<std::string_view> words;
    while (!line.empty()) {
        const size_t end = line.find(' ');
        words.push_back(line.substr(0, end));
        line.remove_prefix(end == std::string_view::npos ? line.size() : end + 1);
    }
    return words;
}

// As src/dedup/settled-file.ts has it; `-` for a file that is not there.
std::string state_of(int store, const std::string& name) {
    struct stat stat{};
    if (::fstatat(store, name.c_str(), &stat, AT_SYMLINK_NOFOLLOW) < 0) return errno == ENOENT ? "-" : "?";
    const auto nanoseconds = [](const timespec& time) { return std::to_string(int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec); };
    return std::to_string(stat.st_ino) + ":" + std::to_string(stat.st_size) + ":" + nanoseconds(stat.st_mtim) + ":" + nanoseconds(stat.st_ctim);
}

bool starts_with(std::string_view text, std::string_view with) { return text.substr(0, with.size()) == with; }

// What says that no content of a container has changed: docs/formats/private-area.md.
Result<std::string> mark_of(int store, const std::string& container) {
    auto run = open_at(store, ("run/" + container).c_str(), O_PATH | O_DIRECTORY);
    if (run.ok()) {
        auto answer = ask_engine(run.value().get(), {"mark"}, kAnswerMs);
        if (answer.ok()) {
            const auto fields = TRY(split_fields(answer.value()));
            if (fields.size() == 2 && fields[0] == "ok" && starts_with(fields[1], "mark=")) return std::string(fields[1].substr(5));
            return Errno(EUCLEAN);
        }
        if (answer.error_code() != ENOENT && answer.error_code() != ECONNREFUSED) return answer.error();
    } else if (run.error_code() != ENOENT) {
        return run.error();
    }
    // No engine is there: its last one has left it.
    UniqueFd area = TRY(open_at(store, ("private/" + container).c_str(), O_RDONLY | O_DIRECTORY));
    const auto mark = TRY(read_change_mark(area.get()));
    return mark ? mark->text() : std::string();
}

Result<bool> holds(int store, std::string_view line) {
    const auto words = words_of(line);
    if (words.size() != 3 || words[2].empty()) return Errno(EUCLEAN);
    const std::string name(words[1]);
    if (words[0] == "file") {
        if (name.empty() || name.front() == '/' || name.find("..") != std::string::npos) return Errno(EUCLEAN);
        return state_of(store, name) == words[2];
    }
    if (words[0] != "mark" || !is_container_name(name)) return Errno(EUCLEAN);
    return TRY(mark_of(store, name)) == words[2];
}

}  // namespace

Result<std::string> settled_text(int store, std::string_view file) {
    if (!starts_with(file, kHead)) return Errno(EUCLEAN);
    file.remove_prefix(kHead.size());
    while (!starts_with(file, "text\n")) {
        const size_t end = file.find('\n');
        if (end == std::string_view::npos) return Errno(EUCLEAN);
        if (!TRY(holds(store, file.substr(0, end)))) return Errno(EUCLEAN);
        file.remove_prefix(end + 1);
    }
    file.remove_prefix(5);
    // The last line says that it is whole: it is not made durable.
    constexpr std::string_view kEnd = "end\n";
    if (file.size() < kEnd.size() || file.substr(file.size() - kEnd.size()) != kEnd) return Errno(EUCLEAN);
    file.remove_suffix(kEnd.size());
    return std::string(file);
}

int run_settled(int argc, char** argv) {
    Options options(argc, argv);
    std::string path;
    if (!options.value("--store", path) || options.rest() != nullptr) return fail(kExitUsage, "USAGE", "settled --store DIR");
    // The administrator's own path: a symlink is followed.
    UniqueFd store(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    // One of more than a MiB is not read.
    auto file = read_small_file(store.get(), "cache/link/.settled");
    if (!file.ok()) return kExitFailed;
    auto text = settled_text(store.get(), file.value());
    if (!text.ok()) return kExitFailed;
    // Whoever does not read it to its end has what he wants.
    (void)std::fputs(text.value().c_str(), stdout);
    (void)std::fflush(stdout);
    return kExitOk;
}

}  // namespace templatefs
