#pragma once

namespace templatefs {

/// Takes the program's code out of this process's page tables. It stays in the page cache for whoever runs the same program, and
/// comes back page by page as it is run: what a process that waits for hours needs of it is a few kB. Never fails.
void give_back_code_pages();

}  // namespace templatefs
