#pragma once
// What copying and packing a private area have in common: reading its entries whole.

#include <dirent.h>
#include <linux/fs.h>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "private/host.h"

namespace templatefs {

// The flags of chattr(1) that a container can set: native/ops/file_flags.cc.
inline constexpr int kFileFlags = FS_NODUMP_FL | FS_NOATIME_FL | FS_SYNC_FL | FS_DIRSYNC_FL;
// Of an open file or folder; 0 where the file system has none.
int file_flags(int fd);

inline bool is_dot_name(const char* name) { return name[0] == '.' && (name[1] == 0 || (name[1] == '.' && name[2] == 0)); }

using FolderStream = std::unique_ptr<DIR, int (*)(DIR*)>;
// Reads the folder by a descriptor of its own, and leaves its access time as it is.
Result<FolderStream> open_folder_stream(int folder);
// The names in a folder but "." and "..", sorted.
Result<std::vector<std::string>> sorted_names(int folder);

struct DataRange {
    off_t from, to;
};
// Where the file has data. All of it is found before any of it is read: reading brings pages around it into memory, which some file
// systems then take for data.
Result<std::vector<DataRange>> data_of(int fd);

struct Xattr {
    std::string name;
    std::vector<std::byte> value;
};

class XattrReader {
public:
    // By descriptor, or by name where `fd` is -1.
    Result<std::vector<Xattr>> read(int fd, Place place);

private:
    std::vector<char> list_;
    std::vector<std::byte> value_;
};

}  // namespace templatefs
