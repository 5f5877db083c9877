#include "private/area_entries.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace templatefs {
namespace {

constexpr size_t kXattrLimit = 64 * 1024;

}  // namespace

int file_flags(int fd) {
    int flags = 0;
    return ::ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 ? flags & kFileFlags : 0;
}

Result<FolderStream> open_folder_stream(int folder) {
    UniqueFd fd = TRY(open_at(folder, ".", O_RDONLY | O_DIRECTORY | O_NOATIME));
    DIR* stream = ::fdopendir(fd.get());
    if (stream == nullptr) return Errno::last();
    (void)fd.release();
    return FolderStream(stream, ::closedir);
}

Result<std::vector<std::string>> sorted_names(int folder) {
    FolderStream stream = TRY(open_folder_stream(folder));
    std::vector<std::string> names;
    errno = 0;
    for (const dirent* entry = ::readdir(stream.get()); entry != nullptr; errno = 0, entry = ::readdir(stream.get()))
        if (!is_dot_name(entry->d_name)) names.emplace_back(entry->d_name);
    if (errno != 0) return Errno::last();
    std::sort(names.begin(), names.end());
    return names;
}

Result<std::vector<DataRange>> data_of(int fd) {
    std::vector<DataRange> ranges;
    for (off_t at = 0;;) {
        const off_t data = ::lseek(fd, at, SEEK_DATA);
        if (data < 0 && errno == ENXIO) return ranges;
        if (data < 0) return Errno::last();
        const off_t hole = ::lseek(fd, data, SEEK_HOLE);
        if (hole < 0 && errno == ENXIO) return ranges;  // cut off meanwhile
        if (hole < 0) return Errno::last();
        ranges.push_back({data, hole});
        at = hole;
    }
}

Result<std::vector<Xattr>> XattrReader::read(int fd, Place place) {
    list_.resize(kXattrLimit);
    value_.resize(kXattrLimit);
    size_t size;
    if (fd >= 0) size = static_cast<size_t>(TRY(checked(::flistxattr(fd, list_.data(), list_.size()))));
    else size = TRY(host_listxattr(place, list_));
    std::vector<Xattr> xattrs;
    for (const char* name = list_.data(); name < list_.data() + size; name += std::strlen(name) + 1) {
        // XFS's second names for ACLs.
        if (std::strncmp(name, "trusted.SGI_ACL_", 16) == 0) continue;
        Result<size_t> got = 0;
        if (fd >= 0) {
            const ssize_t found = ::fgetxattr(fd, name, value_.data(), value_.size());
            got = found < 0 ? Result<size_t>(Errno::last()) : Result<size_t>(static_cast<size_t>(found));
        } else {
            got = host_getxattr(place, name, value_);
        }
        if (got.error_code() == ENODATA) continue;
        const size_t length = TRY(std::move(got));
        xattrs.push_back({name, {value_.begin(), value_.begin() + static_cast<ptrdiff_t>(length)}});
    }
    return xattrs;
}

}  // namespace templatefs
