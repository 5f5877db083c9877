#pragma once
#include "base/result.h"
#include "base/unique_fd.h"
#include "private/id_map.h"

namespace templatefs {

// A user namespace with these maps and nobody in it; it lives as long as something refers to it. EPERM without CAP_SYS_ADMIN
// or where the host forbids user namespaces, EINVAL for maps that the kernel refuses.
Result<UniqueFd> make_user_namespace(const IdMaps& maps);

}  // namespace templatefs
