#include "tests/kvm/guest_kv_client.h"

#include <cstring>

namespace understudy::test {
namespace {

constexpr std::uint16_t kClientPort = 40'000;
constexpr std::size_t kProtocolAt = 23;  // of an IPv4 frame
constexpr unsigned char kUdp = 17;

}  // namespace

guest::testing::Peer test_peer() {
  return {.own_mac = {0x52, 0x54, 0x00, 0x4d, 0x00, 0x01}, .own_ip = 0x0A4D0001, .guest_mac = kGuestMac, .guest_ip = kGuestIp};
}

void KvClient::send_next(MemoryNet& net) {
  request_ = {.magic = guest::kKvRequestMagic,
              .client = 7,
              .id = answered_ + 1,
              .operation = static_cast<std::uint32_t>(1 + random_() % 3),
              .key = static_cast<std::uint32_t>(random_() % guest::kKvKeyCount),
              .value = random_()};
  outstanding_ = true;
  send_again(net);
}

void KvClient::send_again(MemoryNet& net) {
  Frame payload(sizeof request_);
  std::memcpy(payload.data(), &request_, sizeof request_);
  net.inject(test_peer().udp(kClientPort, guest::kKvPort, payload));
}

bool KvClient::take_reply(MemoryNet& net, std::chrono::milliseconds deadline) {
  const auto end = std::chrono::steady_clock::now() + deadline;
  while (outstanding_) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    const auto frame = net.next_sent(std::max(left, std::chrono::milliseconds{0}));
    if (!frame) return false;
    if (frame->size() > kProtocolAt && (*frame)[kProtocolAt] != kUdp) continue;  // somebody else's echo
    const auto payload = test_peer().udp_payload(*frame, guest::kKvPort, kClientPort);
    if (!payload || payload->size() != sizeof(guest::KvReply)) {
      problem_ = "a frame that is no reply";
      return false;
    }
    guest::KvReply reply{};
    std::memcpy(&reply, payload->data(), sizeof reply);
    if (reply.id < request_.id) continue;  // a repeated answer to an earlier repetition
    judge(reply);
  }
  return true;
}

bool KvClient::ask(MemoryNet& net) {
  if (outstanding_)
    send_again(net);
  else
    send_next(net);
  for (int attempt = 0; attempt < 60 && problem_.empty(); ++attempt) {
    if (take_reply(net, std::chrono::milliseconds{1'000})) return problem_.empty();
    send_again(net);
  }
  return false;
}

void KvClient::judge(const guest::KvReply& reply) {
  outstanding_ = false;
  auto& value = values_[request_.key];
  const auto operation = static_cast<guest::KvOperation>(request_.operation);
  if (operation == guest::KvOperation::kPut) value = request_.value;
  if (operation == guest::KvOperation::kAdd) value += request_.value;
  if (operation != guest::KvOperation::kGet) ++mutations_;
  checksum_ = guest::next_checksum(checksum_, request_, value);
  ++answered_;
  if (boot_count_ == 0) boot_count_ = reply.boot_count;
  const auto differs = [this](const char* what, std::uint64_t got, std::uint64_t expected) {
    if (got != expected && problem_.empty())
      problem_ = "reply to request " + std::to_string(request_.id) + ": " + what + " is " + std::to_string(got) + ", not " +
                 std::to_string(expected);
  };
  differs("magic", reply.magic, guest::kKvReplyMagic);
  differs("client", reply.client, request_.client);
  differs("id", reply.id, request_.id);
  differs("status", reply.status, static_cast<std::uint32_t>(guest::KvStatus::kOk));
  differs("boot count", reply.boot_count, boot_count_);
  differs("value", reply.value, value);
  differs("sequence", reply.sequence, answered_);
  differs("checksum", reply.state_checksum, checksum_);
}

}  // namespace understudy::test
