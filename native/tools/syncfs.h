#pragma once

namespace templatefs {

// `syncfs [DIR]`: everything written to the file system of DIR, or of what stdin is open on, is durable when it returns 0. An error that
// somebody else has been told of is told again only to who had the file system open before: so stdin. Node has no syncfs(2).
// `argv` holds the arguments after the verb.
int run_syncfs(int argc, char** argv);

}  // namespace templatefs
