#pragma once

namespace templatefs {

// `area pack DIR` and `area unpack DIR`: docs/protocols/control.md. `argv` holds what is after the verb.
int run_area_pack(int argc, char** argv);
int run_area_unpack(int argc, char** argv);

}  // namespace templatefs
