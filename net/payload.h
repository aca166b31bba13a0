// Cap'n Proto messages to bytes, and safely back: the one place where a schema meets untrusted bytes.
//
// The bytes are one whole message in flat, unpacked form. Reading never throws: what Cap'n Proto objects to becomes kCorrupt, a traversal
// limit bounds the work that crafted pointers can cause, and bytes at an odd address are copied first.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <capnp/message.h>
#include <capnp/serialize.h>
#include <kj/exception.h>

#include "net/base/result.h"

namespace understudy {

// A message is a whole number of these.
inline constexpr std::size_t kMessageWordBytes = sizeof(capnp::word);

namespace payload_detail {
template <class T>
struct IsResult : std::false_type {};
template <class T>
struct IsResult<Result<T>> : std::true_type {};

// What read_payload() returns for a visitor that returns T: Result<T>, or T itself where it is a Result already.
template <class T>
using Lifted = std::conditional_t<IsResult<T>::value, T, Result<T>>;

// Runs `read` on a message reader over `bytes`, exceptions caught; the error says what was wrong with the bytes.
Result<void> with_reader(std::span<const std::byte> bytes, const std::function<void(capnp::MessageReader&)>& read);
}  // namespace payload_detail

// read_payload<schema::Hello>(bytes, [](schema::Hello::Reader hello) -> Result<Hello> {...}): visits the message's root. The reader, and
// all that it points to, is valid only inside the visit. Lists must be walked and values checked inside, too: that is where errors are
// caught. An enum read from a message may hold a number that its schema does not name. Returns Result<T> for a visitor that returns T or
// Result<T>; kCorrupt when the bytes are no such message.
template <class Schema, class Visit>
auto read_payload(std::span<const std::byte> bytes, Visit&& visit) {
  using Out = std::invoke_result_t<Visit, typename Schema::Reader>;
  using Lifted = payload_detail::Lifted<Out>;
  if constexpr (std::is_void_v<Out>) {
    return payload_detail::with_reader(bytes, [&](capnp::MessageReader& message) { visit(message.getRoot<Schema>()); });
  } else {
    Lifted out = Error{ErrorCode::kCorrupt, {}};
    auto read = payload_detail::with_reader(bytes, [&](capnp::MessageReader& message) { out = visit(message.getRoot<Schema>()); });
    if (!read) return Lifted{std::move(read.error())};
    return out;
  }
}

// Builds messages in buffers that it keeps, so that a warm writer does not allocate. One thread at a time.
class PayloadWriter {
 public:
  // `expected_words`: 8-byte words that a typical message takes; a larger one works, more slowly.
  explicit PayloadWriter(std::size_t expected_words = 512);

  // writer.write<schema::Hello>([&](schema::Hello::Builder hello) {...}): the message's bytes, valid until the next write.
  template <class Schema, class Fill>
  std::span<const std::byte> write(Fill&& fill) {
    capnp::MallocMessageBuilder builder{kj::arrayPtr(scratch_.data(), scratch_.size())};
    fill(builder.initRoot<Schema>());
    flatten(builder);
    return flat_;
  }

 private:
  void flatten(capnp::MessageBuilder& builder);

  std::vector<capnp::word> scratch_;  // all zero between writes, as Cap'n Proto wants it (and leaves it)
  std::vector<std::byte> flat_;
};

// For a message that is built once: its bytes.
template <class Schema, class Fill>
std::vector<std::byte> build_payload(Fill&& fill) {
  PayloadWriter writer;
  const auto bytes = writer.write<Schema>(std::forward<Fill>(fill));
  return {bytes.begin(), bytes.end()};
}

}  // namespace understudy
