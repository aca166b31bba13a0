// Result<T> is for what the world does: a value, or an Error that says in one sentence what failed, with the values.
#pragma once

#include <cerrno>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace understudy {

// A code exists only if some caller reacts to it.
enum class ErrorCode {
  kFailed,              // nobody reacts to the kind; the text is for a person
  kInvalid,             // bad input: configuration, image, argument
  kUnsupportedVersion,  // a peer, a schema or an API of a version that is not ours
  kCorrupt,             // bytes that cannot be what their writer wrote
  kRefused,             // understood, and denied by the other side or by a rule
  kBusy,                // a bounded queue is full; try again when it drained
  kTimeout,             // a deadline passed
  kNotFound,
  kUnavailable,  // the resource is gone or was never there: a device, a tap, a peer
};

class [[nodiscard]] Error {
 public:
  Error(ErrorCode code, std::string text) : code_{code}, text_{std::move(text)} {}

  // "open /dev/kvm: No such file or directory (ENOENT)". Reads errno; ENOENT, ENODEV and ENXIO become kUnavailable.
  static Error from_errno(std::string_view operation, int error_number = errno);

  ErrorCode code() const { return code_; }
  const std::string& text() const { return text_; }

  // The same error seen from the operation around it: outermost operation first.
  [[nodiscard]] Error within(std::string_view operation) && {
    text_ = std::string{operation} + ": " + text_;
    return std::move(*this);
  }
  [[nodiscard]] Error within(std::string_view operation) const& { return Error{*this}.within(operation); }

 private:
  ErrorCode code_;
  std::string text_;
};

template <class T>
class [[nodiscard]] Result : public std::expected<T, Error> {
 public:
  using std::expected<T, Error>::expected;
  Result(Error error) : std::expected<T, Error>{std::unexpected{std::move(error)}} {}
};

template <>
class [[nodiscard]] Result<void> : public std::expected<void, Error> {
 public:
  using std::expected<void, Error>::expected;
  Result(Error error) : std::expected<void, Error>{std::unexpected{std::move(error)}} {}
};

}  // namespace understudy

#define US_CONCAT_INNER(a, b) a##b
#define US_CONCAT(a, b) US_CONCAT_INNER(a, b)

// Returns the error of `expression` from the enclosing function, or goes on.
#define US_TRY(expression)                                                              \
  do {                                                                                  \
    if (auto us_result = (expression); !us_result) return std::move(us_result.error()); \
  } while (false)

// US_ASSIGN(auto fd, open_tap(name)): declares or assigns the value, or returns the error.
#define US_ASSIGN(target, expression) US_ASSIGN_NAMED(US_CONCAT(us_result_, __LINE__), target, expression)
#define US_ASSIGN_NAMED(name, target, expression) \
  auto name = (expression);                       \
  if (!name) return std::move(name.error());      \
  target = std::move(*name)
