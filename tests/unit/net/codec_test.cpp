#include "net/codec.h"

#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "net/payload.h"
#include "net/wire.capnp.h"

namespace understudy {
namespace {

using testing::HasSubstr;

const Envelope kEnvelope{.kind = 5,
                         .pair = PairId{42},
                         .sender = NodeId::kB,
                         .incarnation = Incarnation{0x1122334455667788},
                         .term = Term{3},
                         .session = Session{0x99},
                         .epoch = Epoch{4812}};

std::vector<std::byte> some_payload(std::size_t size = 40) {
  std::vector<std::byte> payload(size);
  for (std::size_t i = 0; i < size; ++i) payload[i] = static_cast<std::byte>(i * 7 + 1);
  return payload;
}

std::vector<std::byte> bytes_of(const Frame& frame) { return {frame.bytes().begin(), frame.bytes().end()}; }

bool same(const Envelope& a, const Envelope& b) {
  return a.kind == b.kind && a.pair == b.pair && a.sender == b.sender && a.incarnation == b.incarnation && a.term == b.term &&
         a.session == b.session && a.epoch == b.epoch;
}

// An envelope whose fields a test may set to anything; a good checksum cannot follow.
template <class Change>
Message envelope_with(Change change) {
  const auto good = encode(kEnvelope, some_payload());
  const auto changed = build_payload<schema::Envelope>([&](schema::Envelope::Builder out) {
    EXPECT_TRUE(read_payload<schema::Envelope>(good[0].bytes(), [&](schema::Envelope::Reader in) {
      out.setMagic(in.getMagic());
      out.setWireVersion(in.getWireVersion());
      out.setKind(in.getKind());
      out.setPair(in.getPair());
      out.setSender(in.getSender());
      out.setIncarnation(in.getIncarnation());
      out.setTerm(in.getTerm());
      out.setSession(in.getSession());
      out.setEpoch(in.getEpoch());
      out.setChecksum(in.getChecksum());
      out.setPayload(in.getPayload());
    }));
    change(out);
  });
  return {Frame::copy_of(changed)};
}

void expect_error(const Message& message, ErrorCode code, std::string_view text) {
  const auto decoded = decode(message, kEnvelope.pair);
  ASSERT_FALSE(decoded);
  EXPECT_EQ(decoded.error().code(), code) << decoded.error().text();
  EXPECT_THAT(decoded.error().text(), HasSubstr(text));
  EXPECT_EQ(decoded.error().text().find('\n'), std::string::npos) << "one line";
}

TEST(Codec, RoundTripsEnvelopePayloadAndBulk) {
  for (const std::size_t size : std::vector<std::size_t>{0, 1, 7, 8, 9, 4096, 1'000'000}) {
    const auto payload = some_payload(size);
    const auto bulk = Frame::copy_of(some_payload(100));
    const auto message = encode(kEnvelope, payload, {bulk, Frame{}});
    const auto decoded = decode(message, kEnvelope.pair);
    ASSERT_TRUE(decoded) << decoded.error().text();
    EXPECT_TRUE(same(decoded->envelope, kEnvelope));
    EXPECT_EQ(bytes_of(decoded->payload), payload);
    ASSERT_EQ(decoded->bulk.size(), 2U);
    EXPECT_EQ(decoded->bulk[0].bytes().data(), bulk.bytes().data()) << "bulk is passed on, not copied";
  }
}

TEST(Codec, ExtremeFieldsSurvive) {
  constexpr auto kMax = std::numeric_limits<std::uint64_t>::max();
  const Envelope extreme{.kind = 0xffff,
                         .pair = PairId{kMax},
                         .sender = NodeId::kA,
                         .incarnation = Incarnation{kMax},
                         .term = Term{kMax},
                         .session = Session{kMax},
                         .epoch = Epoch{kMax}};
  const auto decoded = decode(encode(extreme, {}), extreme.pair);
  ASSERT_TRUE(decoded);
  EXPECT_TRUE(same(decoded->envelope, extreme));
}

TEST(Codec, PayloadOutlivesTheMessageAndIsAligned) {
  Result<DecodedMessage> decoded = Error{ErrorCode::kFailed, ""};
  const auto payload = some_payload(333);
  // A transport may hand frames over at any address.
  for (std::size_t shift = 0; shift < 8; ++shift) {
    {
      const auto whole = bytes_of(encode(kEnvelope, payload)[0]);
      const auto shifted = std::make_shared<std::vector<std::byte>>(whole.size() + 8);
      std::memcpy(shifted->data() + shift, whole.data(), whole.size());
      decoded = decode({Frame{std::span{*shifted}.subspan(shift, whole.size()), shifted}}, kEnvelope.pair);
    }
    ASSERT_TRUE(decoded) << decoded.error().text();
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(decoded->payload.bytes().data()) % 8, 0U);
    EXPECT_EQ(bytes_of(decoded->payload), payload);
  }
}

TEST(Codec, WrongMagic) {
  expect_error(envelope_with([](auto out) { out.setMagic(0x12345678); }), ErrorCode::kCorrupt,
               "not an Understudy message: magic 0x12345678");
}

TEST(Codec, OtherWireVersionNamesBoth) {
  expect_error(envelope_with([](auto out) { out.setWireVersion(9); }), ErrorCode::kUnsupportedVersion,
               "the peer speaks wire version 9, this node 1");
}

TEST(Codec, OtherPairNamesBoth) {
  auto other = kEnvelope;
  other.pair = PairId{43};
  expect_error(encode(other, some_payload()), ErrorCode::kRefused, "message for pair 43; this node belongs to pair 42");
  EXPECT_TRUE(decode_any_pair(encode(other, some_payload())));
}

TEST(Codec, KindZero) {
  expect_error(envelope_with([](auto out) { out.setKind(0); }), ErrorCode::kCorrupt, "kind 0");
}

TEST(Codec, UnknownSender) {
  expect_error(envelope_with([](auto out) { out.setSender(2); }), ErrorCode::kCorrupt, "sender 2");
}

TEST(Codec, ChangedTermIsFoundByTheChecksum) {
  expect_error(envelope_with([](auto out) { out.setTerm(4); }), ErrorCode::kCorrupt, "checksum mismatch");
}

TEST(Codec, ChangedPayloadIsFoundByTheChecksum) {
  expect_error(envelope_with([](auto out) { out.getPayload()[3] ^= 1; }), ErrorCode::kCorrupt, "checksum mismatch");
}

TEST(Codec, NoFrame) { expect_error({}, ErrorCode::kCorrupt, "without an envelope frame"); }

TEST(Codec, EmptyFrame) { expect_error({Frame{}}, ErrorCode::kCorrupt, "envelope frame of 0 bytes"); }

TEST(Codec, TruncatedAnywhere) {
  const auto whole = bytes_of(encode(kEnvelope, some_payload())[0]);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const auto decoded = decode({Frame::copy_of(std::span{whole}.first(size))}, kEnvelope.pair);
    ASSERT_FALSE(decoded) << size << " of " << whole.size() << " bytes";
    EXPECT_EQ(decoded.error().code(), ErrorCode::kCorrupt);
  }
}

TEST(Codec, BytesAfterTheEnd) {
  auto bytes = bytes_of(encode(kEnvelope, some_payload())[0]);
  bytes.resize(bytes.size() + 8);
  expect_error({Frame::copy_of(bytes)}, ErrorCode::kCorrupt, "bytes after its end");
}

TEST(Codec, TooLongAPayload) {
  expect_error({Frame::copy_of(std::vector<std::byte>(kMaxPayloadBytes + 4096))}, ErrorCode::kCorrupt, "envelope frame of");
}

TEST(Codec, NoFlippedBitGoesUnnoticed) {
  // Some bits of the format mean nothing (padding, the unused half of the segment table): a flip there may be accepted, but must not change
  // what was said.
  const auto payload = some_payload();
  const auto whole = bytes_of(encode(kEnvelope, payload)[0]);
  std::size_t harmless = 0;
  for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
    auto flipped = whole;
    flipped[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    const auto decoded = decode({Frame::copy_of(flipped)}, kEnvelope.pair);
    if (!decoded) continue;
    ++harmless;
    EXPECT_TRUE(same(decoded->envelope, kEnvelope)) << "bit " << bit;
    EXPECT_EQ(bytes_of(decoded->payload), payload) << "bit " << bit;
  }
  EXPECT_LT(harmless, 64U);
}

TEST(Payload, WritesAndReads) {
  PayloadWriter writer{4};  // smaller than the message: takes more than one segment
  for (int round = 0; round < 3; ++round) {
    const auto bytes = writer.write<schema::Envelope>([&](schema::Envelope::Builder out) {
      out.setTerm(9);
      auto data = out.initPayload(100'000);
      std::fill(data.begin(), data.end(), static_cast<kj::byte>(round));
    });
    const auto read = read_payload<schema::Envelope>(bytes, [&](schema::Envelope::Reader in) {
      EXPECT_EQ(in.getPayload().size(), 100'000U);
      EXPECT_EQ(in.getPayload()[99'999], round);
      return in.getTerm();
    });
    ASSERT_TRUE(read) << read.error().text();
    EXPECT_EQ(*read, 9U);
    EXPECT_EQ(bytes.data() != nullptr, true);
  }
}

TEST(Payload, AWarmWriterLeavesNothingOfTheMessageBefore) {
  PayloadWriter writer;
  const auto write = [&](std::uint64_t term) {
    const auto bytes = writer.write<schema::Envelope>([&](schema::Envelope::Builder out) {
      if (term != 0) out.setTerm(term);
    });
    return std::vector<std::byte>{bytes.begin(), bytes.end()};
  };
  const auto empty = write(0);
  EXPECT_NE(write(77), empty);
  EXPECT_EQ(write(0), empty);
}

TEST(Payload, TheVisitorsOwnErrorComesThrough) {
  const auto bytes = build_payload<schema::Envelope>([](schema::Envelope::Builder) {});
  const auto read = read_payload<schema::Envelope>(bytes, [](schema::Envelope::Reader) -> Result<int> {
    return Error{ErrorCode::kInvalid, "term 0"};
  });
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(read.error().text(), "term 0");
}

TEST(Payload, AnExceptionOfTheReaderBecomesCorrupt) {
  auto bytes = build_payload<schema::Envelope>([](schema::Envelope::Builder out) { out.initPayload(64); });
  // The list pointer of `payload` is the struct's last word: let it point far outside.
  const std::size_t pointer = 16 + (capnp::sizeInWords<schema::Envelope>() - 1) * 8;
  bytes[pointer + 1] = std::byte{0xff};
  const auto read = read_payload<schema::Envelope>(bytes, [](schema::Envelope::Reader in) { return in.getPayload().size(); });
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code(), ErrorCode::kCorrupt);
  EXPECT_THAT(read.error().text(), HasSubstr("out-of-bounds"));
}

TEST(Payload, OverlappingPointersCannotCauseEndlessWork) {
  const auto bytes = build_payload<schema::Envelope>([](schema::Envelope::Builder out) { out.initPayload(80'000); });
  std::size_t reads = 0;
  const auto read = read_payload<schema::Envelope>(bytes, [&](schema::Envelope::Reader in) {
    for (; reads < 1000; ++reads) (void)in.getPayload();
  });
  ASSERT_FALSE(read);
  EXPECT_THAT(read.error().text(), HasSubstr("traversal limit"));
  EXPECT_LT(reads, 10U);
}

}  // namespace
}  // namespace understudy
