#pragma once

namespace templatefs {

// `scan --store DIR --container CT...`: private areas as records on stdout, docs/protocols/control.md.
int run_scan(int argc, char** argv);

}  // namespace templatefs
