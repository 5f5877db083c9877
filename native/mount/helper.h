#pragma once
// mount.templatefs and mount.fuse.templatefs: what mount(8) starts for `mount -t fuse.templatefs CT DIR`. docs/mount-helper.md.

#include <string_view>

namespace templatefs {

// Whether a program of this name (argv[0], with or without folders) is the helper.
bool is_mount_helper(std::string_view program);

// Returns an exit status of mount(8).
int run_mount_helper(int argc, char** argv);

}  // namespace templatefs
