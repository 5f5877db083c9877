#include "inode/trace.h"

#include <algorithm>
#include <vector>

#include "inode/root.h"
#include "private/settings.h"

namespace templatefs {
namespace {

constexpr char kName[] = "trace";

// 0 of a folder that was deleted.
uint64_t nodeid_of(const Folder& folder) {
    if (folder.node != nullptr) return folder.node->nodeid;
    return folder.origin ? uint64_t{*folder.origin} + 1 : 0;
}

}  // namespace

void Trace::add(char kind, const std::string& path) {
    if (full_) return;
    std::string record = kind + path;
    const size_t size = record.size();
    if (!records_.insert(std::move(record)).second) return;
    bytes_ += size + sizeof(std::string);
    full_ = bytes_ > kMostBytes;
}

std::string Trace::text() const {
    std::vector<const std::string*> sorted;
    sorted.reserve(records_.size());
    for (const std::string& record : records_) sorted.push_back(&record);
    std::sort(sorted.begin(), sorted.end(), [](const std::string* a, const std::string* b) { return *a < *b; });
    std::string text;
    for (const std::string* record : sorted) text.append(*record).push_back('\0');
    return text;
}

// The path of a folder, by its names up to the root. Of one that was deleted nothing can be read.
Result<std::string> Root::traced_path(uint64_t nodeid) {
    std::vector<uint64_t> way;
    std::vector<std::string> names;
    std::string path;
    for (uint64_t at = nodeid; at != kRootNodeid;) {
        if (const std::string* known = trace_.folder(at)) {
            path = *known;
            break;
        }
        way.push_back(at);
        const File file = TRY(this->file(at));
        if (file.is_private()) {
            if (file.node->parent == 0) return Errno(ENOENT);
            names.emplace_back(nodes_.name(*file.node));
            at = nodes_.at(file.node->parent)->nodeid;
        } else {
            names.emplace_back(TRY(tree_name(file.index, file.tree)));
            at = uint64_t{file.tree.parent} + 1;
        }
    }
    for (size_t i = way.size(); i-- > 0;) {
        path += "/" + names[i];
        (void)trace_.know(way[i], path);
    }
    return path;
}

void Root::trace_name(const Folder& folder, std::string_view name) {
    auto path = traced_path(nodeid_of(folder));
    if (path.ok()) trace_.asked(path.value(), name);
}

void Root::trace_list(const Folder& folder) {
    if (!trace_.is_on()) return;
    auto path = traced_path(nodeid_of(folder));
    if (path.ok()) trace_.listed(path.value());
}

Result<bool> Root::end_trace() {
    const bool whole = trace_.is_on() && !trace_.is_full();
    const std::string text = whole ? trace_.text() : std::string();
    trace_.end();
    if (whole) TRY(replace_file(area_.base(), kName, text, 0600, false));
    return whole;
}

void Root::forget_trace() { (void)host_unlink({area_.base(), kName}).ok(); }

}  // namespace templatefs
