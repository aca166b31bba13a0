// Cap'n Proto messages to bytes and safely back, for this folder's schemas: reading never throws, whatever the bytes.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <capnp/message.h>
#include <capnp/serialize.h>
#include <kj/exception.h>

#include "net/base/result.h"

namespace understudy::flat_message {

template <class Schema, class Fill>
std::vector<std::byte> write(Fill&& fill) {
  capnp::MallocMessageBuilder builder;
  fill(builder.initRoot<Schema>());
  const kj::Array<capnp::word> words = capnp::messageToFlatArray(builder);
  const auto bytes = std::as_bytes(std::span{words.asBytes().begin(), words.asBytes().size()});
  return {bytes.begin(), bytes.end()};
}

// `visit` takes the root's reader and returns Result<T>; the reader is valid only inside it.
template <class Schema, class Visit>
auto read(std::span<const std::byte> bytes, Visit&& visit) -> decltype(visit(std::declval<typename Schema::Reader>())) {
  try {
    // Copied to words: the bytes may lie at any address.
    std::vector<capnp::word> words(bytes.size() / sizeof(capnp::word));
    if (words.empty() || bytes.size() % sizeof(capnp::word) != 0)
      return Error{ErrorCode::kCorrupt, std::to_string(bytes.size()) + " bytes are no message: not a positive multiple of 8"};
    std::memcpy(words.data(), bytes.data(), bytes.size());
    capnp::ReaderOptions options;
    options.traversalLimitInWords = 4 * words.size() + 1024;  // honest messages are visited about once
    options.nestingLimit = 16;
    capnp::FlatArrayMessageReader reader{kj::arrayPtr(words.data(), words.size()), options};
    return visit(reader.getRoot<Schema>());
  } catch (const kj::Exception& exception) {
    return Error{ErrorCode::kCorrupt, std::string{"bytes are no message of their schema: "} + exception.getDescription().cStr()};
  }
}

}  // namespace understudy::flat_message
