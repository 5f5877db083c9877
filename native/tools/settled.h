#pragma once
#include <string>
#include <string_view>

#include "base/result.h"

namespace templatefs {

// Whether all still is as `cache/link/.settled` of a store says (docs/formats/link-cache.md): then merging has nothing to do, and the text is
// what it would say. EUCLEAN: something has changed, or the file is none.
Result<std::string> settled_text(int store, std::string_view file);

// `settled --store DIR`: prints that text; exit status 1, and nothing is said, where it does not hold. `argv` holds the arguments after the verb.
int run_settled(int argc, char** argv);

}  // namespace templatefs
