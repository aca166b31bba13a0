#include "tests/lab/history.h"

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

namespace understudy::lab {

namespace {

using RequestKey = std::pair<std::uint32_t, std::uint64_t>;  // client, id

class Judge {
 public:
  explicit Judge(std::uint64_t unanswered) : unexplained_allowed_{unanswered} {}

  void take(const AcknowledgedReply& acknowledged) {
    const auto& reply = acknowledged.reply;
    const RequestKey key{reply.client, reply.id};
    if (const auto [first, is_new] = by_request_.try_emplace(key, &acknowledged); !is_new) {
      compare_repeated(*first->second, acknowledged);
      return;
    }
    ++findings_.acknowledged;
    if (static_cast<guest::KvStatus>(reply.status) != guest::KvStatus::kOk) {
      ++findings_.contradicted;
      example("{}: refused with status {}", name(acknowledged), reply.status);
      return;
    }
    if (boot_count_ == nullptr) {
      boot_count_ = &reply.boot_count;
      findings_.boots = 1;
    }
    if (reply.boot_count != *boot_count_) {
      ++findings_.contradicted;
      example("{}: answered by another boot of the guest ({} after {})", name(acknowledged), reply.boot_count, *boot_count_);
    }
    // Of two requests with one sequence number, the one heard of later belongs to the history that goes on.
    if (const auto [place, is_free] = by_sequence_.try_emplace(reply.sequence, &acknowledged); !is_free) {
      ++findings_.lost;
      example("sequence {}: {} was acknowledged with it, and later {}", reply.sequence, name(*place->second), name(acknowledged));
      place->second = &acknowledged;
    }
  }

  HistoryFindings finish() {
    judge_chain();
    judge_order();
    if (!by_sequence_.empty()) findings_.last_sequence = by_sequence_.rbegin()->first;
    return std::move(findings_);
  }

 private:
  void compare_repeated(const AcknowledgedReply& first, const AcknowledgedReply& again) {
    if (first.reply.sequence != again.reply.sequence) {
      ++findings_.executed_twice;
      example("{}: executed as sequence {} and again as {}", name(first), first.reply.sequence, again.reply.sequence);
    } else if (first.reply.value != again.reply.value || first.reply.state_checksum != again.reply.state_checksum ||
               first.reply.status != again.reply.status) {
      ++findings_.contradicted;
      example("{}: answered twice, and not with the same", name(first));
    }
  }

  // Sequence numbers without a gap, each reply's checksum grown from the one before, each value what the operations before it make of it.
  void judge_chain() {
    std::uint64_t sequence = 0;
    std::uint64_t checksum = guest::kKvInitialChecksum;
    const AcknowledgedReply* newest = nullptr;  // the latest arrival on the history that goes on
    bool chain_known = true;
    std::vector<std::uint64_t> abandoned_sequences;
    for (const auto& [at, acknowledged] : by_sequence_) {
      if (at != sequence + 1) {
        judge_gap(sequence + 1, at - 1);
        chain_known = false;
        values_.clear();
        values_complete_ = false;
      }
      const auto& [request, reply, sent, received] = *acknowledged;
      const bool follows = !chain_known || guest::next_checksum(checksum, request, reply.value) == reply.state_checksum;
      const bool abandoned = newest != nullptr && on_abandoned_branch_ && received < newest->received_at;
      if (!follows || abandoned) {
        on_abandoned_branch_ = newest != nullptr && received < newest->received_at;
        ++(on_abandoned_branch_ ? findings_.lost : findings_.contradicted);
        if (on_abandoned_branch_) abandoned_sequences.push_back(at);
        example("{}: its checksum does not continue sequence {}", name(*acknowledged), sequence);
      } else {
        on_abandoned_branch_ = false;
        judge_value(*acknowledged);
      }
      if (newest == nullptr || received >= newest->received_at) newest = acknowledged;
      sequence = at;
      checksum = reply.state_checksum;
      chain_known = true;
    }
    for (const auto lost : abandoned_sequences) by_sequence_.erase(lost);
  }

  void judge_gap(std::uint64_t first, std::uint64_t last) {
    const std::uint64_t count = last - first + 1;
    const std::uint64_t explained = std::min(count, unexplained_allowed_);
    unexplained_allowed_ -= explained;
    if (count == explained) return;
    findings_.executed_twice += count - explained;
    example("sequences {} to {}: executed, and no request was answered with them, so some request ran twice", first, last);
  }

  void judge_value(const AcknowledgedReply& acknowledged) {
    const auto& [request, reply, sent, received] = acknowledged;
    const auto known = values_.find(request.key);
    const bool is_known = known != values_.end() || values_complete_;
    const std::uint64_t before = known != values_.end() ? known->second : 0;
    std::uint64_t expected = reply.value;
    switch (static_cast<guest::KvOperation>(request.operation)) {
      case guest::KvOperation::kGet:
        if (is_known) expected = before;
        break;
      case guest::KvOperation::kPut:
        expected = request.value;
        break;
      case guest::KvOperation::kAdd:
        if (is_known) expected = before + request.value;
        break;
      case guest::KvOperation::kEnd:
        break;  // never answered, so never here
    }
    if (reply.value != expected) {
      ++findings_.contradicted;
      example("{}: key {} was answered as {}, and the replies before make it {}", name(acknowledged), request.key, reply.value, expected);
    }
    values_[request.key] = reply.value;
  }

  // A request sent after another's reply had arrived was executed after it.
  void judge_order() {
    const AcknowledgedReply* earliest = nullptr;  // of those with a higher sequence, the one that was answered first
    for (auto place = by_sequence_.rbegin(); place != by_sequence_.rend(); ++place) {
      const AcknowledgedReply& acknowledged = *place->second;
      if (earliest != nullptr && acknowledged.first_sent_at > earliest->received_at) {
        ++findings_.contradicted;
        example("{}: executed before {}, which had been answered before it was sent", name(acknowledged), name(*earliest));
      }
      if (earliest == nullptr || acknowledged.received_at < earliest->received_at) earliest = &acknowledged;
    }
  }

  static std::string name(const AcknowledgedReply& acknowledged) {
    return fmt::format("request {}/{} (sequence {})", acknowledged.reply.client, acknowledged.reply.id, acknowledged.reply.sequence);
  }
  template <class... Values>
  void example(fmt::format_string<Values...> format, Values&&... values) {
    if (findings_.examples.size() < HistoryFindings::kMaxExamples)
      findings_.examples.push_back(fmt::format(format, std::forward<Values>(values)...));
  }

  HistoryFindings findings_;
  std::uint64_t unexplained_allowed_;
  const std::uint32_t* boot_count_ = nullptr;
  bool on_abandoned_branch_ = false;
  std::map<RequestKey, const AcknowledgedReply*> by_request_;
  std::map<std::uint64_t, const AcknowledgedReply*> by_sequence_;
  std::unordered_map<std::uint32_t, std::uint64_t> values_;  // what is not in it is zero, as long as values_complete_
  bool values_complete_ = true;
};

}  // namespace

HistoryFindings judge_history(std::span<const AcknowledgedReply> replies, std::uint64_t unanswered) {
  Judge judge{unanswered};
  for (const auto& acknowledged : replies) judge.take(acknowledged);
  return judge.finish();
}

std::vector<Instant> acknowledgement_times(std::span<const AcknowledgedReply> replies) {
  std::vector<Instant> times;
  std::set<std::pair<std::uint32_t, std::uint64_t>> answered;
  for (const auto& acknowledged : replies) {
    if (answered.emplace(acknowledged.reply.client, acknowledged.reply.id).second) times.push_back(acknowledged.received_at);
  }
  return times;
}

}  // namespace understudy::lab
