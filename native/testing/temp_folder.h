#pragma once
#include <cstddef>
#include <span>
#include <string>

namespace templatefs::testing {

// A folder of its own for one test; the destructor removes it with what is in it. Lies in $TMPDIR or /tmp.
class TempFolder {
public:
    TempFolder();
    ~TempFolder();
    TempFolder(const TempFolder&) = delete;
    TempFolder& operator=(const TempFolder&) = delete;

    const std::string& path() const { return path_; }
    int fd() const { return fd_; }
    std::string at(const std::string& name) const { return path_ + "/" + name; }

    // Makes the missing folders above `name` too.
    void make_folders(const std::string& name) const;
    void write(const std::string& name, std::span<const std::byte> content, unsigned mode = 0644) const;
    void write(const std::string& name, const std::string& content, unsigned mode = 0644) const;
    std::string read(const std::string& name) const;
    bool exists(const std::string& name) const;

private:
    std::string path_;
    int fd_ = -1;
};

}  // namespace templatefs::testing
