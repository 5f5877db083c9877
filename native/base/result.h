#pragma once
// Result<T>: a value or an errno. Functions that can fail return it and callers use TRY, so that no error is
// dropped and none is an exception.

#include <cerrno>
#include <new>
#include <type_traits>
#include <utility>

namespace templatefs {

// A positive errno value; 0 is never a failure.
struct Errno {
    int value;
    explicit constexpr Errno(int v) : value(v != 0 ? v : EIO) {}
    static Errno last() { return Errno(errno); }
    friend bool operator==(Errno a, Errno b) { return a.value == b.value; }
};

template <class T>
class [[nodiscard]] Result {
public:
    Result(T value) : ok_(true) { new (&value_) T(std::move(value)); }
    Result(Errno e) : ok_(false), error_(e.value) {}
    Result(Result&& other) noexcept : ok_(other.ok_) {
        if (ok_) new (&value_) T(std::move(other.value_));
        else error_ = other.error_;
    }
    Result(const Result&) = delete;
    Result& operator=(const Result&) = delete;
    Result& operator=(Result&& other) noexcept {
        if (this != &other) {
            this->~Result();
            new (this) Result(std::move(other));
        }
        return *this;
    }
    ~Result() {
        if (ok_) value_.~T();
    }

    bool ok() const { return ok_; }
    explicit operator bool() const { return ok_; }
    Errno error() const { return Errno(error_); }
    int error_code() const { return ok_ ? 0 : error_; }
    T& value() { return value_; }
    const T& value() const { return value_; }
    T take() { return std::move(value_); }

private:
    bool ok_;
    union {
        T value_;
        int error_;
    };
};

template <>
class [[nodiscard]] Result<void> {
public:
    Result() = default;
    Result(Errno e) : error_(e.value) {}
    bool ok() const { return error_ == 0; }
    explicit operator bool() const { return ok(); }
    Errno error() const { return Errno(error_); }
    int error_code() const { return error_; }
    void take() {}

private:
    int error_ = 0;
};

// TRY(expression) yields the value, or returns the error from the calling function (GNU statement expression).
#define TRY(expression) TRY_AS_(expression, TRY_NAME_(__COUNTER__))
#define TRY_NAME_(number) TRY_JOIN_(try_result_, number)
#define TRY_JOIN_(prefix, number) prefix##number
#define TRY_AS_(expression, name)              \
    ({                                         \
        auto name = (expression);              \
        if (!name.ok()) return name.error();   \
        name.take();                           \
    })

// Wraps a system call that returns -1 and sets errno.
template <class T>
Result<T> checked(T value) {
    if (value < 0) return Errno::last();
    return value;
}

inline Result<void> checked_void(int value) {
    if (value < 0) return Errno::last();
    return {};
}

}  // namespace templatefs
