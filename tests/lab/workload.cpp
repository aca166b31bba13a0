#include "tests/lab/workload.h"

#include <algorithm>
#include <cstring>

#include "net/base/check.h"

namespace understudy::lab {

Workload::Workload(const Options& options) : options_{options}, random_state_{options.seed}, clients_(options.clients) {
  US_CHECK(options.clients >= 1 && options.clients <= guest::kKvMaxClients);
  US_CHECK(options.window >= 1 && options.window <= guest::kKvRememberedReplies);
  US_CHECK(options.keys >= 1 && options.keys <= guest::kKvKeyCount);
}

void Workload::pump(Instant now, const std::function<void(const guest::KvRequest&)>& send) {
  if (end_order_ && now >= end_order_->due) {
    end_order_->due = now + options_.retry_after;
    send(end_order_->request);
  }
  for (auto& [key, pending] : pending_) {
    if (now - pending.last_sent_at < options_.retry_after) continue;
    pending.last_sent_at = now;
    send(pending.request);
  }
  for (std::uint32_t client = 0; client < options_.clients; ++client) {
    while (has_room(client) && !(reading_back_ && to_read_.empty()) && take_turn(now)) {
      const auto request = next_request(client);
      ++clients_[client].unanswered;
      pending_.emplace(Key{client, request.id}, Pending{.request = request, .first_sent_at = now, .last_sent_at = now});
      send(request);
    }
  }
}

// The guest remembers a bounded number of replies: no id may run that far ahead of the client's oldest unanswered one.
bool Workload::has_room(std::uint32_t client) const {
  const Client& state = clients_[client];
  if (state.unanswered >= options_.window) return false;
  const auto oldest = pending_.lower_bound(Key{client, 0});
  return oldest == pending_.end() || oldest->first.first != client || state.next_id - oldest->first.second < guest::kKvRememberedReplies;
}

// Paced on average: what could not be asked while the service was silent is made up for only in part.
bool Workload::take_turn(Instant now) {
  constexpr int kBurst = 64;
  if (options_.pace == Duration{}) return true;
  if (now < next_turn_) return false;
  next_turn_ = std::max(next_turn_, now - kBurst * options_.pace) + options_.pace;
  return true;
}

guest::KvRequest Workload::next_request(std::uint32_t client) {
  guest::KvRequest request{
      .magic = guest::kKvRequestMagic, .client = client, .id = clients_[client].next_id++, .operation = 0, .key = 0, .value = 0};
  if (reading_back_) {
    request.operation = static_cast<std::uint32_t>(guest::KvOperation::kGet);
    request.key = to_read_.back();
    to_read_.pop_back();
    return request;
  }
  request.operation = static_cast<std::uint32_t>(random() % 3) + static_cast<std::uint32_t>(guest::KvOperation::kGet);
  request.key = static_cast<std::uint32_t>(random() % options_.keys);
  request.value = random();
  touched_.insert(request.key);
  return request;
}

// splitmix64: any seed is good, and the sequence is the same everywhere.
std::uint64_t Workload::random() {
  std::uint64_t word = (random_state_ += 0x9E3779B97F4A7C15ULL);
  word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9ULL;
  word = (word ^ (word >> 27)) * 0x94D049BB133111EBULL;
  return word ^ (word >> 31);
}

Instant Workload::next_due() const {
  Instant next = Instant::max();
  for (const auto& [key, pending] : pending_) next = std::min(next, pending.last_sent_at + options_.retry_after);
  if (end_order_) next = std::min(next, end_order_->due);
  if (options_.pace != Duration{} && pending_.size() < std::size_t{options_.clients} * options_.window) next = std::min(next, next_turn_);
  return next;
}

bool Workload::take(std::span<const std::byte> datagram, Instant now) {
  guest::KvReply reply{};
  if (datagram.size() != sizeof reply) return false;
  std::memcpy(&reply, datagram.data(), sizeof reply);
  if (reply.magic != guest::kKvReplyMagic) return false;
  if (end_order_ && reply.boot_count != end_order_->request.value) end_order_.reset();
  const Key key{reply.client, reply.id};
  if (const auto pending = pending_.find(key); pending != pending_.end()) {
    answered_at_.emplace(key, replies_.size());
    replies_.push_back(
        {.request = pending->second.request, .reply = reply, .first_sent_at = pending->second.first_sent_at, .received_at = now});
    --clients_[reply.client].unanswered;
    pending_.erase(pending);
    return true;
  }
  const auto answered = answered_at_.find(key);
  if (answered == answered_at_.end()) return false;
  auto repeated = replies_[answered->second];
  repeated.reply = reply;
  repeated.received_at = now;
  replies_.push_back(repeated);
  return true;
}

void Workload::end_guest(guest::GuestEnd how) {
  US_CHECK(!replies_.empty());
  end_order_ = EndOrder{.request = {.magic = guest::kKvRequestMagic,
                                    .client = 0,
                                    .id = 1,
                                    .operation = static_cast<std::uint32_t>(guest::KvOperation::kEnd),
                                    .key = static_cast<std::uint32_t>(how),
                                    .value = replies_.back().reply.boot_count},
                        .due = {}};
}

void Workload::read_back() {
  reading_back_ = true;
  to_read_.assign(touched_.begin(), touched_.end());
}

}  // namespace understudy::lab
