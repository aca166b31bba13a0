#include "tests/lab/boots.h"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace understudy::lab {

namespace {

using Boot = std::vector<AcknowledgedReply>;  // its replies, in the order of their arrival

std::vector<Boot> split(std::span<const AcknowledgedReply> replies) {
  std::vector<Boot> boots;
  for (const auto& acknowledged : replies) {
    const auto same = [&](const Boot& boot) { return boot.front().reply.boot_count == acknowledged.reply.boot_count; };
    const auto found = std::ranges::find_if(boots, same);
    if (found == boots.end())
      boots.push_back({acknowledged});
    else
      found->push_back(acknowledged);
  }
  return boots;
}

std::pair<std::uint32_t, std::uint64_t> key(const AcknowledgedReply& acknowledged) {
  return {acknowledged.reply.client, acknowledged.reply.id};
}

// What was asked before this boot ended and is answered by later ones: it may have executed that too, and ended with the reply.
std::uint64_t left_to_later(const Boot& boot, std::span<const Boot> later) {
  std::set<std::pair<std::uint32_t, std::uint64_t>> answered;
  std::set<std::pair<std::uint32_t, std::uint64_t>> left;
  for (const auto& acknowledged : boot) answered.insert(key(acknowledged));
  for (const Boot& other : later) {
    for (const auto& acknowledged : other) {
      if (acknowledged.first_sent_at <= boot.back().received_at && !answered.contains(key(acknowledged))) left.insert(key(acknowledged));
    }
  }
  return left.size();
}

}  // namespace

HistoryFindings judge_boots(std::span<const AcknowledgedReply> replies, std::uint64_t unanswered) {
  const auto boots = split(replies);
  HistoryFindings all;
  const auto example = [&](std::string sentence) {
    if (all.examples.size() < HistoryFindings::kMaxExamples) all.examples.push_back(std::move(sentence));
  };
  for (std::size_t i = 0; i < boots.size(); ++i) {
    const auto findings = judge_history(boots[i], unanswered + left_to_later(boots[i], std::span{boots}.subspan(i + 1)));
    all.lost += findings.lost;
    all.contradicted += findings.contradicted;
    all.executed_twice += findings.executed_twice;
    all.last_sequence = findings.last_sequence;
    for (const auto& sentence : findings.examples) example(fmt::format("boot {}: {}", i + 1, sentence));
    if (i + 1 == boots.size()) break;
    for (const auto& acknowledged : boots[i]) {
      if (acknowledged.first_sent_at <= boots[i + 1].front().received_at) continue;
      ++all.contradicted;
      example(fmt::format("request {}/{}: answered by boot {}, and boot {} had answered before it was asked", acknowledged.reply.client,
                          acknowledged.reply.id, i + 1, i + 2));
    }
  }
  std::set<std::pair<std::uint32_t, std::uint64_t>> requests;
  for (const auto& acknowledged : replies) requests.insert(key(acknowledged));
  all.acknowledged = requests.size();
  all.boots = boots.size();
  return all;
}

}  // namespace understudy::lab
