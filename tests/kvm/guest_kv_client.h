// A client of the guest's key-value service over a MemoryNet: lock-step, retries by id, and checks every reply against its own model.
#pragma once

#include <cstdint>
#include <random>
#include <string>

#include "tests/guest/host_frames.h"
#include "tests/guest/kv_protocol.h"
#include "tests/kvm/guest_host.h"

namespace understudy::test {

class KvClient {
 public:
  explicit KvClient(std::uint64_t seed) : random_{seed} {}

  // Makes the next request and sends it; send_again() repeats it as it was.
  void send_next(MemoryNet& net);
  void send_again(MemoryNet& net);
  // Takes the outstanding request's reply if it comes in time. False: none came. A reply that contradicts the model is in problem().
  bool take_reply(MemoryNet& net, std::chrono::milliseconds deadline);
  // One request, answered; repeats it until it is. False: a contradiction, or no answer for a minute.
  bool ask(MemoryNet& net);
  bool outstanding() const { return outstanding_; }

  const std::string& problem() const { return problem_; }
  std::uint64_t answered() const { return answered_; }
  std::uint64_t mutations() const { return mutations_; }

 private:
  void judge(const guest::KvReply& reply);

  std::mt19937_64 random_;
  guest::KvRequest request_{};
  bool outstanding_ = false;
  std::uint64_t answered_ = 0;
  std::uint64_t mutations_ = 0;
  std::uint64_t checksum_ = guest::kKvInitialChecksum;
  std::uint32_t boot_count_ = 0;
  std::array<std::uint64_t, guest::kKvKeyCount> values_{};
  std::string problem_;
};

// The peer that the client is, for other traffic.
guest::testing::Peer test_peer();

}  // namespace understudy::test
