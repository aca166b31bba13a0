#include "net/payload.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "net/base/check.h"

namespace understudy {

namespace {
// Every pointer followed is counted. A reader may look at a list more than once, crafted overlapping pointers may not loop for long.
constexpr std::uint64_t kTraversalsPerWord = 4;
constexpr std::uint64_t kTraversalSlackWords = 4096;
constexpr int kNestingLimit = 32;

// Cap'n Proto's descriptions are its own words, of one line as a rule; whatever follows a line break is dropped.
std::string first_line(const kj::Exception& exception) {
  const std::string text{exception.getDescription().cStr()};
  return text.substr(0, text.find('\n'));
}
}  // namespace

namespace payload_detail {

Result<void> with_reader(std::span<const std::byte> bytes, const std::function<void(capnp::MessageReader&)>& read) {
  if (bytes.empty() || bytes.size() % kMessageWordBytes != 0)
    return Error{ErrorCode::kCorrupt, "a message of " + std::to_string(bytes.size()) + " bytes: not a whole number of 8-byte words"};
  const std::size_t word_count = bytes.size() / kMessageWordBytes;

  std::vector<capnp::word> aligned_copy;
  const auto* words = reinterpret_cast<const capnp::word*>(bytes.data());
  if (reinterpret_cast<std::uintptr_t>(bytes.data()) % alignof(capnp::word) != 0) {
    aligned_copy.resize(word_count);
    std::memcpy(aligned_copy.data(), bytes.data(), bytes.size());
    words = aligned_copy.data();
  }

  capnp::ReaderOptions options;
  options.traversalLimitInWords = word_count * kTraversalsPerWord + kTraversalSlackWords;
  options.nestingLimit = kNestingLimit;
  try {
    capnp::FlatArrayMessageReader reader{kj::arrayPtr(words, word_count), options};
    if (reader.getEnd() != words + word_count)
      return Error{ErrorCode::kCorrupt, "a message of " + std::to_string(bytes.size()) + " bytes with bytes after its end"};
    read(reader);
  } catch (const kj::Exception& exception) {
    return Error{ErrorCode::kCorrupt, "a message of " + std::to_string(bytes.size()) + " bytes: " + first_line(exception)};
  }
  return {};
}

}  // namespace payload_detail

PayloadWriter::PayloadWriter(std::size_t expected_words) : scratch_(std::max<std::size_t>(expected_words, 1)) {}

void PayloadWriter::flatten(capnp::MessageBuilder& builder) {
  // capnp::messageToFlatArray() would allocate anew each time. The segment table: count - 1, then each size in words, padded to a word.
  const auto segments = builder.getSegmentsForOutput();
  const std::size_t table_bytes = (segments.size() / 2 + 1) * kMessageWordBytes;
  std::size_t total_bytes = table_bytes;
  for (const auto& segment : segments) total_bytes += segment.size() * kMessageWordBytes;
  flat_.assign(total_bytes, std::byte{0});

  std::byte* to = flat_.data();
  const auto put_u32 = [&to](std::size_t value) {
    US_CHECK(value <= UINT32_MAX);
    for (int shift = 0; shift < 32; shift += 8) *to++ = static_cast<std::byte>(value >> shift);
  };
  put_u32(segments.size() - 1);
  for (const auto& segment : segments) put_u32(segment.size());
  to = flat_.data() + table_bytes;
  for (const auto& segment : segments) {
    std::memcpy(to, segment.begin(), segment.size() * kMessageWordBytes);
    to += segment.size() * kMessageWordBytes;
  }
}

}  // namespace understudy
