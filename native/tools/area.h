#pragma once

namespace templatefs {

// `area make DIR`, `area remove DIR`, `area quota …`: what the control plane does to private areas that no engine serves
// and that takes system calls Node.js has not. docs/protocols/control.md. `argv` holds the arguments after the verb.
int run_area(int argc, char** argv);

}  // namespace templatefs
