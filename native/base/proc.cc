#include "base/proc.h"

namespace templatefs {
namespace {

bool is_current_folder = false;

}  // namespace

std::string proc_path(const std::string& name) { return is_current_folder ? name : "/proc/" + name; }

void proc_is_current_folder() { is_current_folder = true; }

}  // namespace templatefs
