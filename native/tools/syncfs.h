#pragma once

namespace templatefs {

// `syncfs DIR`: everything written to the file system of DIR is durable when it returns 0. Node has no syncfs(2).
// `argv` holds the arguments after the verb.
int run_syncfs(int argc, char** argv);

}  // namespace templatefs
