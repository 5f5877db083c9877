#include "control/merge_verb.h"

#include <charconv>
#include <cstring>
#include <optional>

#include "control/frame.h"
#include "control/object_name.h"

namespace templatefs {
namespace {

constexpr uint64_t kMicrosecond = 1'000;
// Requests of the root wait for so long, if the request does not say for how long.
constexpr uint64_t kBudgetUs = 1'000;
constexpr uint64_t kMaxBudgetUs = 1'000'000;
constexpr std::string_view kBudget = "budget=";
// The reply is sent at once, as a whole: it fits a socket's buffer.
constexpr size_t kMaxEntries = 1'000;

template <class T>
bool parse(std::string_view text, T& number) {
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    return error == std::errc() && end == text.data() + text.size();
}

// The next field, and the rest behind one space.
std::string_view take_word(std::string_view& text) {
    const size_t space = text.find(' ');
    std::string_view word = text.substr(0, space);
    text = space == std::string_view::npos ? std::string_view() : text.substr(space + 1);
    return word;
}

// INO SIZE SECONDS.NANOSECONDS OBJECT PATH
std::optional<MergeRequest> parse_entry(std::string_view text) {
    MergeRequest request;
    if (!parse(take_word(text), request.ino) || !parse(take_word(text), request.size)) return std::nullopt;
    const std::string_view mtime = take_word(text);
    const size_t dot = mtime.find('.');
    if (dot == std::string_view::npos || !parse(mtime.substr(0, dot), request.mtime.tv_sec)) return std::nullopt;
    if (!parse(mtime.substr(dot + 1), request.mtime.tv_nsec) || request.mtime.tv_nsec < 0 || request.mtime.tv_nsec > 999'999'999)
        return std::nullopt;
    auto object = parse_object(take_word(text));
    if (!object || text.empty() || text[0] != '/') return std::nullopt;
    request.object = *object;
    request.path = text;
    return request;
}

std::string text_of(const MergeAnswer& answer) {
    switch (answer.kind) {
        case MergeAnswer::Kind::Merged:
            return "merged " + std::to_string(answer.freed);
        case MergeAnswer::Kind::Kept:
            return "kept";
        case MergeAnswer::Kind::Unfinished:
            return "more " + std::to_string(answer.offset);
        case MergeAnswer::Kind::Failed:
            return std::string("failed ") + std::strerror(answer.error);
        case MergeAnswer::Kind::Skipped:
            break;
    }
    return std::string("skipped ") + answer.reason;
}

}  // namespace

std::string answer_merge(Root& root, std::span<const std::string_view> fields, int waiting) {
    const std::string usage = FrameWriter().field("error").field("USAGE").field("merge [budget=MICROSECONDS] ENTRY...").take();
    uint64_t budget_us = kBudgetUs;
    if (!fields.empty() && fields[0].starts_with(kBudget)) {
        if (!parse(fields[0].substr(kBudget.size()), budget_us) || budget_us > kMaxBudgetUs) return usage;
        fields = fields.subspan(1);
    }
    // A request that is wrong anywhere does nothing.
    for (std::string_view field : fields)
        if (!parse_entry(field)) return usage;
    const MergeBudget budget(budget_us * kMicrosecond, waiting);
    FrameWriter frame;
    frame.field("ok");
    for (size_t i = 0; i < fields.size() && i < kMaxEntries; i++) {
        const MergeAnswer answer = root.merge_next(*parse_entry(fields[i]), budget);
        frame.field(std::to_string(i), text_of(answer));
        if (budget.is_used_up()) break;
    }
    root.end_merging();
    return frame.take();
}

}  // namespace templatefs
