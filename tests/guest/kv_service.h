// The key-value service's state and rules (kv_protocol.h). Pure: a datagram in, a datagram out.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "tests/guest/ip_stack.h"
#include "tests/guest/kv_protocol.h"

namespace understudy::guest {

// What a request that changed something leaves for the block log.
struct KvMutation {
  KvRequest request;
  std::uint64_t value;
  std::uint64_t sequence;
  std::uint64_t state_checksum;
};

class KvService final : public UdpService {
 public:
  void set_boot_count(std::uint32_t boot_count) { boot_count_ = boot_count; }

  std::size_t answer(InBytes request, OutBytes answer) override;

  std::uint64_t sequence() const { return sequence_; }
  std::uint64_t state_checksum() const { return checksum_; }
  // A client told this boot to end, and so.
  std::optional<GuestEnd> end_asked() const { return end_asked_; }

  // Mutations since the last take, at most kMaxMutations: the caller takes them before it offers the next datagram.
  static constexpr std::size_t kMaxMutations = 16;
  std::size_t mutation_count() const { return mutation_count_; }
  const KvMutation& mutation(std::size_t i) const { return mutations_[i]; }
  void take_mutations() { mutation_count_ = 0; }

 private:
  struct Client {
    std::uint64_t newest = 0;
    std::array<KvReply, kKvRememberedReplies> replies{};
  };

  KvReply execute(const KvRequest& request, Client& client);
  KvReply reply_to(const KvRequest& request, KvStatus status, std::uint64_t value) const;

  std::uint32_t boot_count_ = 0;
  std::optional<GuestEnd> end_asked_;
  std::uint64_t sequence_ = 0;
  std::uint64_t checksum_ = kKvInitialChecksum;
  std::array<std::uint64_t, kKvKeyCount> values_{};
  std::array<Client, kKvMaxClients> clients_{};
  std::array<KvMutation, kMaxMutations> mutations_{};
  std::size_t mutation_count_ = 0;
};

}  // namespace understudy::guest
