#pragma once
#include <charconv>
#include <cstdint>
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
    // A whole number, if `--name number` was there. False when it is none; `out` stays then.
    bool number(const char* name, uint64_t& out) {
        std::string text;
        if (!value(name, text)) return rest_named(name) == nullptr;
        const char* end = text.data() + text.size();
        auto parsed = std::from_chars(text.data(), end, out);
        return parsed.ec == std::errc() && parsed.ptr == end;
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
    const char* rest_named(const char* name) const {
        for (int i = 0; i < argc_; i++)
            if (argv_[i] != nullptr && std::strcmp(argv_[i], name) == 0) return argv_[i];
        return nullptr;
    }

    int argc_;
    char** argv_;
};

}  // namespace templatefs
