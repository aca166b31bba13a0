// What the lab's clients ask of the guest: numbered requests of several clients, repeated until answered, and every reply remembered.
//
// Loop-owned and without socket or clock: the caller brings time and datagrams. Operations and keys follow from the seed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "net/base/clock.h"
#include "tests/guest/kv_protocol.h"
#include "tests/lab/history.h"

namespace understudy::lab {

class Workload {
 public:
  struct Options {
    std::uint32_t clients = 8;  // 1 to kKvMaxClients
    std::uint32_t window = 4;   // unanswered requests of each client, at most kKvRememberedReplies
    std::uint32_t keys = 256;   // 1 to kKvKeyCount
    Duration retry_after = std::chrono::milliseconds{50};
    Duration pace{};  // between new requests, on average; zero: as fast as they are answered
    std::uint64_t seed = 1;
  };
  explicit Workload(const Options& options);

  // Calls `send` for every request that is due: new ones while a client's window has room, and those unanswered for retry_after.
  void pump(Instant now, const std::function<void(const guest::KvRequest&)>& send);
  // When pump() may have something to send again; far away if only a reply can change that.
  Instant next_due() const;

  // A datagram from the guest. False: not a reply to a request of ours.
  bool take(std::span<const std::byte> datagram, Instant now);

  // Tells the boot that answered last to end itself so, again and again until another boot answers. Once something was answered.
  void end_guest(guest::GuestEnd how);

  // No further changes: each key that was touched is read once more, then no request follows.
  void read_back();
  // Everything is read back and answered.
  bool finished() const { return reading_back_ && to_read_.empty() && pending_.empty(); }

  std::size_t unanswered() const { return pending_.size(); }
  // In the order of arrival, repeated ones included.
  const std::vector<AcknowledgedReply>& replies() const { return replies_; }

 private:
  using Key = std::pair<std::uint32_t, std::uint64_t>;  // client, id
  struct Pending {
    guest::KvRequest request;
    Instant first_sent_at;
    Instant last_sent_at;
  };
  struct Client {
    std::uint64_t next_id = 1;
    std::uint32_t unanswered = 0;
  };
  struct EndOrder {
    guest::KvRequest request;
    Instant due;
  };
  bool has_room(std::uint32_t client) const;
  bool take_turn(Instant now);
  guest::KvRequest next_request(std::uint32_t client);
  std::uint64_t random();

  const Options options_;
  std::uint64_t random_state_;
  std::vector<Client> clients_;
  std::map<Key, Pending> pending_;          // ordered by client, then id: a client's first is its oldest
  std::map<Key, std::size_t> answered_at_;  // index into replies_ of the first reply
  std::vector<AcknowledgedReply> replies_;
  std::set<std::uint32_t> touched_;
  std::optional<EndOrder> end_order_;
  bool reading_back_ = false;
  std::vector<std::uint32_t> to_read_;
  Instant next_turn_ = Instant::min();  // of a new request
};

}  // namespace understudy::lab
