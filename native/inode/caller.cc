#include "inode/caller.h"

#include <fcntl.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/proc.h"
#include "private/settings.h"

namespace templatefs {
namespace {

constexpr unsigned kCapFowner = 3;
constexpr unsigned kCapFsetid = 4;
constexpr unsigned kCapSysAdmin = 21;
constexpr size_t kFileSystemId = 3;  // Uid: and Gid: list real, effective, saved and file system id

std::string line_of(const std::string& status, const char* key) {
    size_t at = status.find(key);
    if (at == std::string::npos) return "";
    at += std::strlen(key);
    return status.substr(at, status.find('\n', at) - at);
}

std::vector<uint32_t> numbers_of(const std::string& line) {
    std::vector<uint32_t> numbers;
    const char* at = line.c_str();
    for (;;) {
        char* end;
        const unsigned long value = std::strtoul(at, &end, 10);
        if (end == at) return numbers;
        numbers.push_back(static_cast<uint32_t>(value));
        at = end;
    }
}

// Empty when it cannot be read: then the process has no privilege over anything.
IdMap read_map(uint32_t pid, const char* name) {
    IdMap map;
    auto text = read_small_file(AT_FDCWD, proc_path(std::to_string(pid) + name).c_str());
    if (!text.ok()) return map;
    const auto numbers = numbers_of(text.value());
    for (size_t i = 0; i + 2 < numbers.size(); i += 3) map.push_back({numbers[i], numbers[i + 1], numbers[i + 2]});
    return map;
}

bool has_outside(const IdMap& map, std::optional<uint32_t> id) {
    if (!id) return false;
    for (const IdRange& range : map)
        if (*id >= range.outside && *id - range.outside < range.count) return true;
    return false;
}

}  // namespace

std::optional<Caller> Caller::read(uint32_t pid) {
    if (pid == 0) return std::nullopt;
    auto text = read_small_file(AT_FDCWD, proc_path(std::to_string(pid) + "/status").c_str());
    if (!text.ok()) return std::nullopt;
    const std::string& status = text.value();
    auto uids = numbers_of(line_of(status, "\nUid:"));
    auto gids = numbers_of(line_of(status, "\nGid:"));
    if (uids.size() <= kFileSystemId || gids.size() <= kFileSystemId) return std::nullopt;
    Caller caller;
    caller.fs_uid = uids[kFileSystemId];
    caller.fs_gid = gids[kFileSystemId];
    caller.groups = numbers_of(line_of(status, "\nGroups:"));
    caller.capabilities = std::strtoull(line_of(status, "\nCapEff:").c_str(), nullptr, 16);
    caller.uid_map = read_map(pid, "/uid_map");
    caller.gid_map = read_map(pid, "/gid_map");
    return caller;
}

bool Caller::has_host_capability(unsigned number) const {
    constexpr uint32_t kAllIds = 0xffffffff;
    const bool initial = uid_map.size() == 1 && uid_map[0].inside == 0 && uid_map[0].outside == 0 && uid_map[0].count == kAllIds;
    return initial && has_capability(number);
}

bool Caller::may_keep_set_id() const { return has_host_capability(kCapFsetid); }

bool Caller::may_see_trusted() const { return has_host_capability(kCapSysAdmin); }

bool Caller::owns(std::optional<uint32_t> uid) const {
    return uid == fs_uid || (has_capability(kCapFowner) && has_outside(uid_map, uid));
}

bool Caller::may_keep_set_gid(std::optional<uint32_t> uid, std::optional<uint32_t> gid) const {
    if (gid == fs_gid || (gid && std::find(groups.begin(), groups.end(), *gid) != groups.end())) return true;
    // Whoever makes a user namespace has all capabilities in it; they count for the ids that it has, no others.
    return has_capability(kCapFsetid) && has_outside(uid_map, uid) && has_outside(gid_map, gid);
}

}  // namespace templatefs
