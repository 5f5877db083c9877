#pragma once
#include <string>

namespace templatefs {

// The path of a file below /proc. A confined worker has /proc as its current folder and sees it nowhere else.
std::string proc_path(const std::string& name);

// From now on paths below /proc are relative to the current folder.
void proc_is_current_folder();

}  // namespace templatefs
