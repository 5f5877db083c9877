#pragma once
// Locks between commands: run/.locks/NAME in the store, the same that src/catalog/lock.ts takes.
//
// There a lock is a transaction on an empty SQLite file, so here it is the bytes that SQLite locks (its file format fixes them:
// pending, reserved, shared). They are taken as a lock of the open file description: closing another descriptor of the file does
// not drop it, and a process that is forked keeps it until it closes its copy.

#include <cstdint>
#include <string>
#include <utility>

#include "base/result.h"
#include "base/unique_fd.h"

namespace templatefs {

// Held until it is destroyed and all processes that inherited the descriptor have closed it.
class CommandLock {
public:
    CommandLock() = default;
    CommandLock(CommandLock&& other) noexcept
        : folder_(std::move(other.folder_)), fd_(std::move(other.fd_)), note_(std::exchange(other.note_, {})) {}
    CommandLock& operator=(CommandLock&& other) noexcept {
        std::swap(folder_, other.folder_);
        std::swap(fd_, other.fd_);
        std::swap(note_, other.note_);
        return *this;
    }
    ~CommandLock();

    // Takes it exclusively, waiting up to `wait_ms` for others. EWOULDBLOCK when they do not end in time; `holder` then names one,
    // as far as it can be found out. Beside the lock lies a note that names `command`, for the message of others.
    static Result<CommandLock> take(int store, const std::string& name, const std::string& command, uint64_t wait_ms,
                                    std::string& holder);

    // A second descriptor: whoever has it open keeps the lock, whatever becomes of this object. Invalid when there is no lock.
    UniqueFd share() const;
    // The descriptor itself: from now on only whoever has that keeps the lock. Nothing else is left open, and no note.
    UniqueFd hand_over();

private:
    void remove_note();

    UniqueFd folder_;  // run/.locks
    UniqueFd fd_;
    std::string note_;
};

}  // namespace templatefs
