#pragma once

namespace templatefs {

// `dump TREE`: the whole tree image on stdout in the text form of docs/protocols/control.md. `argv` holds the arguments
// after the verb. Beyond what a reader refuses on use it checks every page, the order of names and that each folder
// has one name, so that the output of a hostile image is no longer than the image deserves.
int run_dump(int argc, char** argv);

}  // namespace templatefs
