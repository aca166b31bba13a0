// What anybody may send to `understudy pair`, and what may lie in a key file: refused, or understood and the same when written again.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "failover/pair_exchange.h"
#include "input_reader.h"
#include "net/base/check.h"
#include "net/curve_key.h"

namespace understudy {
namespace {

const CurveSecretKey kKey{CurveKeyBytes{8, 2, 3}};
const PairReveal kReveal{CurvePublicKey{CurveKeyBytes{1, 2, 3}}, PairNonce{4, 5, 6}};

void check_message(std::span<const std::byte> bytes) {
  const auto message = decode_pair_message(bytes);
  if (message) US_CHECK(std::ranges::equal(encode_pair_message(*message), bytes));
  for (const auto side : {PairExchange::Side::kListens, PairExchange::Side::kConnects}) {
    PairExchange exchange{side, kReveal.key, kReveal.nonce};
    const auto first = exchange.receive(bytes);
    // One message makes nobody a peer but of the connecting side, and then by a reveal.
    US_CHECK(!exchange.done() || (side == PairExchange::Side::kConnects && message && std::holds_alternative<PairReveal>(*message)));
    if (!first || side == PairExchange::Side::kConnects) continue;
    US_CHECK(!exchange.receive(bytes));  // the same again is no reveal of what it committed to
  }
}

void check_key_file(std::string_view content) {
  if (const auto key = CurveSecretKey::parse_file(content)) US_CHECK(key->file_content() == content);
  if (const auto key = CurvePublicKey::parse(content)) US_CHECK(key->text() == content);
}

std::string_view text_of(std::span<const std::byte> bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

}  // namespace
}  // namespace understudy

// The first byte chooses the decoder, and whether the rest is the input or edits of a good one.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace understudy;
  InputReader input{data, size};
  const unsigned choice = input.byte() % 6;
  if (choice < 2) {
    const auto rest = std::as_bytes(std::span{data, size}).subspan(std::min<std::size_t>(size, 1));
    choice == 0 ? check_message(rest) : check_key_file(text_of(rest));
    return 0;
  }
  static const std::string file = kKey.file_content();
  static const std::string key_text = kReveal.key.text();
  std::vector<std::byte> bytes;
  if (choice == 2) bytes = encode_pair_message(kReveal);
  if (choice == 3) bytes = encode_pair_message(commitment_to(kReveal));
  const auto text = std::as_bytes(std::span{choice == 4 ? file : key_text});
  if (choice >= 4) bytes.assign(text.begin(), text.end());
  while (!input.done()) edit_once(bytes, input);
  choice < 4 ? check_message(bytes) : check_key_file(text_of(bytes));
  return 0;
}
