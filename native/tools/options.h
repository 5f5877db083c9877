#pragma once
#include <cstring>
#include <string>

namespace templatefs {

// The arguments after a verb, `--name value` and `--flag` in any order. Each is taken once; what is left is an error.
class Options {
public:
    Options(int argc, char** argv) : argc_(argc), argv_(argv) {}

    // True when `--name value` was there.
    bool value(const char* name, std::string& out) {
        for (int i = 0; i < argc_; i++) {
            if (argv_[i] == nullptr || std::strcmp(argv_[i], name) != 0) continue;
            if (i + 1 >= argc_ || argv_[i + 1] == nullptr) return false;
            out = argv_[i + 1];
            argv_[i] = argv_[i + 1] = nullptr;
            return true;
        }
        return false;
    }
    bool flag(const char* name) {
        for (int i = 0; i < argc_; i++) {
            if (argv_[i] == nullptr || std::strcmp(argv_[i], name) != 0) continue;
            argv_[i] = nullptr;
            return true;
        }
        return false;
    }
    // The first argument that nobody has taken, or nullptr.
    const char* rest() const {
        for (int i = 0; i < argc_; i++)
            if (argv_[i] != nullptr) return argv_[i];
        return nullptr;
    }

private:
    int argc_;
    char** argv_;
};

}  // namespace templatefs
