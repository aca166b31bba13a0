// The node's plain data as bytes and back, for replaying what a node did: every type of node_io.h, arbiter.h and probe.h, field by field.
//
// The bytes have no version of their own: they are read by the same code that wrote them (see flight_recorder.h, whose log says which that
// was). Reading never goes past the end, never makes a value that its type does not name, nor more elements than there are bytes.
//
// Threading: none; one owner each.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "net/base/clock.h"
#include "net/base/ids.h"

namespace understudy {

// The largest value of an enumeration that is archived; one that names its last value `kLast` itself needs none.
template <class Enum>
struct ArchivedEnum;

namespace archive_detail {
template <class Enum>
constexpr std::uint64_t last_of() {
  if constexpr (requires { Enum::kLast; })
    return static_cast<std::uint64_t>(Enum::kLast);
  else
    return static_cast<std::uint64_t>(ArchivedEnum<Enum>::kLast);
}

template <class T>
struct IsStrong : std::false_type {};
template <class Tag>
struct IsStrong<StrongU64<Tag>> : std::true_type {};
}  // namespace archive_detail

// transfer(archive, struct) lists a struct's fields, once for both directions: archive(x.first, x.second).
class ArchiveWriter {
 public:
  explicit ArchiveWriter(std::vector<std::byte>& out) : out_{out} {}

  template <class... Fields>
  void operator()(const Fields&... fields) {
    (field(fields), ...);
  }

 private:
  // A length or a number, short when it is small: seven bits a byte, least significant first.
  void number(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) out_.push_back(static_cast<std::byte>((value & 0x7f) | 0x80));
    out_.push_back(static_cast<std::byte>(value));
  }

  template <class T>
  void field(const T& value) {
    if constexpr (std::is_same_v<T, bool>) {
      number(value ? 1 : 0);
    } else if constexpr (std::is_enum_v<T>) {
      number(static_cast<std::uint64_t>(value));
    } else if constexpr (std::is_unsigned_v<T>) {
      number(value);
    } else if constexpr (archive_detail::IsStrong<T>::value) {
      number(value.raw());
    } else {
      transfer(*this, const_cast<T&>(value));  // one list of fields serves both directions, and writing changes none
    }
  }
  // Signed: small ones of either sign stay short.
  void field(const Duration& value) {
    const auto ns = static_cast<std::uint64_t>(value.count());
    number((ns << 1) ^ (value.count() < 0 ? ~std::uint64_t{0} : 0));
  }
  void field(const Instant& value) { field(value.time_since_epoch()); }
  void field(const std::string& value) {
    number(value.size());
    const auto bytes = std::as_bytes(std::span{value});
    out_.insert(out_.end(), bytes.begin(), bytes.end());
  }
  template <class T>
  void field(const std::optional<T>& value) {
    number(value ? 1 : 0);
    if (value) field(*value);
  }
  template <class T>
  void field(const std::vector<T>& value) {
    number(value.size());
    for (const T& one : value) field(one);
  }
  template <class T, std::size_t kSize>
  void field(const std::array<T, kSize>& value) {
    for (const T& one : value) field(one);
  }
  template <class First, class Second>
  void field(const std::pair<First, Second>& value) {
    field(value.first);
    field(value.second);
  }
  template <class... Kinds>
  void field(const std::variant<Kinds...>& value) {
    number(value.index());
    std::visit([this](const auto& kind) { field(kind); }, value);
  }

  std::vector<std::byte>& out_;
};

// After damage every further field is left as it is; ok() tells, once at the end.
class ArchiveReader {
 public:
  explicit ArchiveReader(std::span<const std::byte> in) : in_{in} {}

  template <class... Fields>
  void operator()(Fields&... fields) {
    (field(fields), ...);
  }
  // Everything so far was there and right.
  bool ok() const { return ok_; }
  std::size_t bytes_left() const { return in_.size(); }

 private:
  std::uint64_t number() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && ok_; shift += 7) {
      if (in_.empty()) break;
      const auto byte = static_cast<std::uint64_t>(in_.front());
      in_ = in_.subspan(1);
      if (shift == 63 && byte > 1) break;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    ok_ = false;
    return 0;
  }
  // Of something of which each takes a byte or more.
  std::size_t length() {
    const std::uint64_t value = number();
    if (value > in_.size()) ok_ = false;
    return ok_ ? static_cast<std::size_t>(value) : 0;
  }
  bool flag() {
    const std::uint64_t value = number();
    ok_ &= value <= 1;
    return ok_ && value == 1;
  }

  template <class T>
  void field(T& value) {
    if constexpr (std::is_same_v<T, bool>) {
      value = flag();
    } else if constexpr (std::is_enum_v<T>) {
      const std::uint64_t raw = number();
      ok_ &= raw <= archive_detail::last_of<T>();
      if (ok_) value = static_cast<T>(raw);
    } else if constexpr (std::is_unsigned_v<T>) {
      const std::uint64_t raw = number();
      ok_ &= static_cast<T>(raw) == raw;
      if (ok_) value = static_cast<T>(raw);
    } else if constexpr (archive_detail::IsStrong<T>::value) {
      value = T{number()};
    } else {
      if (ok_) transfer(*this, value);
    }
  }
  void field(Duration& value) {
    const std::uint64_t zigzag = number();
    value = Duration{static_cast<std::int64_t>((zigzag >> 1) ^ ((zigzag & 1) != 0 ? ~std::uint64_t{0} : 0))};
  }
  void field(Instant& value) {
    Duration since{};
    field(since);
    value = Instant{since};
  }
  void field(std::string& value) {
    const std::size_t size = length();
    value.assign(reinterpret_cast<const char*>(in_.data()), size);
    in_ = in_.subspan(size);
  }
  template <class T>
  void field(std::optional<T>& value) {
    value.reset();
    if (flag()) field(value.emplace());
  }
  template <class T>
  void field(std::vector<T>& value) {
    value.clear();
    for (std::size_t left = length(); left != 0 && ok_; --left) field(value.emplace_back());
  }
  template <class T, std::size_t kSize>
  void field(std::array<T, kSize>& value) {
    for (T& one : value) field(one);
  }
  template <class First, class Second>
  void field(std::pair<First, Second>& value) {
    field(value.first);
    field(value.second);
  }
  template <class... Kinds>
  void field(std::variant<Kinds...>& value) {
    const std::uint64_t index = number();
    ok_ &= index < sizeof...(Kinds);
    if (!ok_) return;
    std::size_t at = 0;
    const auto make = [&]<class Kind>() {
      if (at++ == index) field(value.template emplace<Kind>());
    };
    (make.template operator()<Kinds>(), ...);
  }

  std::span<const std::byte> in_;
  bool ok_ = true;
};

}  // namespace understudy
