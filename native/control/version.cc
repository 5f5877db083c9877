#include "control/version.h"

#include "control/frame.h"
#include "inode/shared_state.h"

namespace templatefs {
namespace {

// In one piece, and nowhere else: tests make engines of other versions by changing these bytes of the executable.
constexpr std::string_view kName = "templatefs-engine ";
constexpr char kLine[] = "templatefs-engine " TEMPLATEFS_VERSION " protocol 1 tree 1 private 1 state 3";
static_assert(kControlProtocol == 1 && kStateVersion == 3, "the line says other numbers");

// Else the compiler would make copies of what it knows of the line.
const char* volatile line = kLine;

}  // namespace

std::string_view version_line() { return line; }

std::string_view engine_version() {
    std::string_view rest = version_line().substr(kName.size());
    return rest.substr(0, rest.find(' '));
}

std::string_view engine_state_version() { return version_line().substr(version_line().rfind(' ') + 1); }

}  // namespace templatefs
