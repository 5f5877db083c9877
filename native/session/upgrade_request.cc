#include "session/upgrade_request.h"

#include <unistd.h>

#include "private/settings.h"

namespace templatefs {

Result<UpgradeRequest> parse_upgrade_request(std::string_view text) {
    UpgradeRequest request;
    while (!text.empty()) {
        const size_t end = text.find('\n');
        const size_t space = text.find(' ');
        if (end == std::string_view::npos || space > end) return Errno(EINVAL);
        const std::string_view key = text.substr(0, space);
        auto value = unescape_value(text.substr(space + 1, end - space - 1));
        if (!value.ok()) return Errno(EINVAL);
        if (key == "request") request.id = value.take();
        else if (key == "engine") request.engine = value.take();
        else return Errno(EINVAL);
        text.remove_prefix(end + 1);
    }
    if (request.id.empty() || !request.engine.starts_with('/')) return Errno(EINVAL);
    return request;
}

Result<UpgradeRequest> take_upgrade_request(int run) {
    auto text = read_small_file(run, "upgrade");
    ::unlinkat(run, "upgrade", 0);
    if (!text.ok()) return text.error();
    return parse_upgrade_request(text.value());
}

void answer_upgrade(int run, const std::string& id, const std::string& why) {
    const std::string result = why.empty() ? "ok" : "failed: " + why;
    (void)replace_file(run, "upgraded", "request " + escape_value(id) + "\nresult " + escape_value(result) + "\n", 0600, false).ok();
}

}  // namespace templatefs
