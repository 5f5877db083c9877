#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "private/host.h"
#include "private/settings.h"

namespace templatefs {

// The name of an inode in inodes/: its number in 8 or more hex digits.
struct InodeName {
    char text[20];
    explicit InodeName(uint64_t ino);
};

// Gives out private inode numbers, each once, also over crashes and power loss: docs/formats/private-area.md.
struct InoRange {
    uint64_t next = 0;      // the next free number
    uint64_t reserved = 0;  // numbers below are durably ours
};

// The file `usage`: what the area took when its last engine stopped.
struct StoredUsage {
    uint64_t inodes = 0;
    std::optional<uint64_t> bytes;  // if they were counted
};

// The folders of one private area, opened; nothing here knows about trees or mounts.
class PrivateArea {
public:
    // `container` is its name, or `CT@ID` for one of its snapshots. ENOENT when there is no such one. Makes folders that are missing. Does not lock.
    static Result<PrivateArea> open(int store, const std::string& container);
    // The same for those that only look, also on a disk that is full or read-only: makes nothing.
    static Result<PrivateArea> open_to_look(int store, const std::string& container);
    // The same by the folder private/<ct>.
    static Result<PrivateArea> open_base(UniqueFd base);

    // Opened to look, before its first mount: there is nothing in it, and no folders either.
    bool is_untouched() const { return !root_.valid(); }
    int base() const { return base_.get(); }
    int root() const { return root_.get(); }
    int inodes() const { return inodes_.get(); }
    int staging() const { return staging_.get(); }
    const ContainerSettings& settings() const { return settings_; }

    // Takes the lock that says "an engine serves this area"; EWOULDBLOCK when another has it. The lock lives as long as
    // the returned descriptor is open in any process.
    Result<UniqueFd> lock();

    // What the last engine wrote down at a clean stop, which is then gone: whoever changes the area makes it untrue.
    // nullopt when there is nothing to go by. EROFS when it cannot be taken away.
    Result<std::optional<StoredUsage>> take_usage();
    // The same, left where it is: for those that only look.
    Result<std::optional<StoredUsage>> peek_usage();
    // Makes it durable.
    Result<void> store_usage(const StoredUsage& usage);

    // Removes everything in staging/: half-made things of an engine that was killed.
    Result<void> clear_staging();

    Result<InoRange> load_inos();
    // Records `range`; durable when `sync`.
    // Not `durably`: for those that are there already. After a power loss there may be what was there before.
    Result<void> store_inos(const InoRange& range, bool durably);

private:
    UniqueFd base_, root_, inodes_, staging_;
    ContainerSettings settings_;
};

// The lock that says "an engine serves this area" (PrivateArea::lock) by the folder private/<ct>.
Result<UniqueFd> lock_area(int base);

// Removes a folder's whole content, bottom up; never follows a symlink or leaves the file system.
Result<void> remove_content(int folder);
// Removes one entry, whatever it is. ENOENT is success.
Result<void> remove_tree(Place place);

}  // namespace templatefs
