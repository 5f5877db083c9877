#pragma once
// What all fuzzers share. A fuzzer is a function that takes any bytes and returns; it ends the process when it finds
// something. The same functions are built in two ways: with clang's libFuzzer, which looks for new paths
// (`npm run test:fuzz`), and into the unit tests, which run the kept inputs and some random changes of them (`npm test`).

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

namespace templatefs::fuzz {

using Input = std::span<const std::byte>;

struct Harness {
    const char* name;  // of its folder in test/fuzz/
    void (*run)(Input);
};

void fuzz_requests(Input input);
void fuzz_tree_image(Input input);
void fuzz_private_area(Input input);
void fuzz_shared_state(Input input);
void fuzz_control(Input input);
void fuzz_mount(Input input);

inline constexpr std::array kHarnesses = {
    Harness{"requests", fuzz_requests},         Harness{"tree-image", fuzz_tree_image},
    Harness{"private-area", fuzz_private_area}, Harness{"shared-state", fuzz_shared_state},
    Harness{"control", fuzz_control},           Harness{"mount", fuzz_mount},
};

// Ends the process: the input shows a bug.
[[noreturn]] void finding(const std::string& what);

// The bytes of an input as a row of choices. Where they end, everything is 0.
class Choices {
public:
    explicit Choices(Input bytes) : bytes_(bytes) {}

    bool done() const { return bytes_.empty(); }

    template <class T>
    T take() {
        static_assert(std::is_trivially_copyable_v<T>);
        T value{};
        const size_t size = bytes_.size() < sizeof(T) ? bytes_.size() : sizeof(T);
        if (size > 0) std::memcpy(&value, bytes_.data(), size);
        bytes_ = bytes_.subspan(size);
        return value;
    }
    uint8_t byte() { return take<uint8_t>(); }
    // 0 … count - 1
    size_t pick(size_t count) { return count == 0 ? 0 : byte() % count; }
    bool one_in(size_t count) { return pick(count) == 1; }
    Input bytes(size_t size) {
        auto taken = bytes_.first(size < bytes_.size() ? size : bytes_.size());
        bytes_ = bytes_.subspan(taken.size());
        return taken;
    }
    std::string_view text(size_t size) {
        auto taken = bytes(size);
        return {reinterpret_cast<const char*>(taken.data()), taken.size()};
    }
    Input rest() { return bytes(bytes_.size()); }

private:
    Input bytes_;
};

}  // namespace templatefs::fuzz
