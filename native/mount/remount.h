#pragma once
#include <string>

namespace templatefs {

// Changes options of a root that is mounted at `target`: a comma-separated list as after `mount -o`, without `remount`. Returns 0, or the
// exit status after the error has been said.
int remount_root(const std::string& target, const std::string& options);

}  // namespace templatefs
