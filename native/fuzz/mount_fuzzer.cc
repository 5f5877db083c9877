// What a mount reads: the words and options that mount(8) hands on, `run/<ct>/engine`, the mount table, the container's settings. The first
// byte says which. All of it comes from root; none of it may do more than be refused.

#include <string>
#include <vector>

#include "fuzz/harness.h"
#include "mount/engine_file.h"
#include "mount/helper_arguments.h"
#include "mount/mount_table.h"
#include "private/settings.h"

namespace templatefs::fuzz {
namespace {

void read_arguments(std::string text) {
    std::vector<std::string> words{"mount.templatefs"};
    for (size_t from = 0; from <= text.size();) {
        const size_t end = std::min(text.find('\n', from), text.size());
        words.push_back(text.substr(from, end - from));
        from = end + 1;
    }
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    std::string problem;
    auto arguments = parse_helper_arguments(static_cast<int>(argv.size()), argv.data(), problem);
    if (!arguments.ok()) {
        if (problem.empty()) finding("arguments are refused without a reason");
        return;
    }
    const HelperArguments& read = arguments.value();
    if (read.help) return;
    if (read.target.empty()) finding("arguments without a target are accepted");
    if (!read.remount && !is_container_name(read.container)) finding("a container name that is none is accepted");
    if (read.ids && !check_id_maps(*read.ids).ok()) finding("a map of ids that is none is accepted");
    MountFlags flags;
    std::string unknown;
    if (!parse_mount_options(read.mount_options, flags, unknown).ok()) finding("options are accepted that the engine refuses");
}

void read_engine_file(std::string_view text) {
    auto engine = parse_engine_file(text);
    if (!engine.ok()) return;
    if (engine.value().holder < 2 || !engine.value().mountpoint.starts_with('/')) finding("an engine file that names nobody is accepted");
    if (!check_id_maps(engine.value().ids).ok()) finding("an engine file with a map that is none is accepted");
}

void read_table(std::string_view text) {
    (void)root_with_device(text, 50);
    if (auto entry = mount_on_top(text, "/mnt"); entry && entry->mountpoint != "/mnt") finding("another mount is found than was asked for");
}

void read_container(std::string_view text) {
    auto settings = parse_settings(text);
    if (settings.ok() && !check_id_maps(settings.value().ids).ok()) finding("settings with a map that is none are accepted");
}

}  // namespace

void fuzz_mount(Input input) {
    Choices choices(input);
    const size_t which = choices.pick(4);
    const Input rest = choices.rest();
    const std::string text(reinterpret_cast<const char*>(rest.data()), rest.size());
    if (which == 0) read_arguments(text.substr(0, text.find('\0')));
    else if (which == 1) read_engine_file(text);
    else if (which == 2) read_table(text);
    else read_container(text);
}

}  // namespace templatefs::fuzz
