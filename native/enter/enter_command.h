#pragma once

namespace templatefs {

// `templatefs-engine enter`: runs a program in the namespaces of a running container. docs/protocols/control.md.
int run_enter(int argc, char** argv);

}  // namespace templatefs
