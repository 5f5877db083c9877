#pragma once

namespace templatefs {

// `area copy --store DIR --container CT[@ID] --to DIR`: docs/protocols/control.md. `argv` holds what is after the verb.
int run_area_copy(int argc, char** argv);

}  // namespace templatefs
