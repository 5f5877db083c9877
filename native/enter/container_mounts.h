#pragma once
// Two folders that a running container gets for the time of a command: what the host hands in, read-only, and a place to work in that
// is gone with all that was left there. They are mounted in its own mount namespace: what its package scripts start lives on in it.

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace templatefs {

class ContainerMounts {
public:
    // On the host, before the namespaces are joined. `input` may be empty. The container's root owns the place to work in.
    static Result<ContainerMounts> make(const std::string& input, uint64_t work_bytes, uid_t owner, gid_t group);
    // In the container: below /run, which must be a folder. What a killed command has left there is taken away first.
    Result<void> place();
    // In the container. Also when it was not placed, or only half.
    void remove();

private:
    UniqueFd input_, work_;
    UniqueFd run_;
};

}  // namespace templatefs
