#include "tests/sim/oracle.h"

#include <algorithm>

namespace understudy::sim {
namespace {

std::string name(NodeIncarnation node) { return std::string{name_of(node.node)} + "/" + std::to_string(node.incarnation.raw() % 10000); }
std::string name(Term term) { return "term " + std::to_string(term.raw()); }

}  // namespace

void Oracle::violate(const std::string& rule, const std::string& what) {
  if (violated()) return;
  rule_ = rule;
  what_ = what;
}

void Oracle::granted(const ArbiterRecord& record) {
  if (!grants_.empty() && record.term <= grants_.rbegin()->first) violate("term rises", name(record.term) + " granted twice");
  grants_[record.term] = record;
}

void Oracle::granted_here(const ArbiterRecord& record) {
  if (!grants_.emplace(record.term, record).second) violate("one holder a term", name(record.term) + " granted twice");
}

void Oracle::takeover_asked(NodeIncarnation node, Term at_least, Term stored_promise) {
  if (stored_promise < at_least)
    violate("promise first", name(node) + " asks for " + name(at_least) + " with a stored promise of " + name(stored_promise));
}

void Oracle::solo_asked(NodeIncarnation node, bool long_sick) {
  if (long_sick) violate("solo only when well", name(node) + " asks for solo while a path of its own has long been failed");
}

void Oracle::committed(NodeIncarnation node, const GuestImage& image) { held_[node.incarnation] = image; }

void Oracle::guest_started(NodeIncarnation node, Term term, const History& history, Term stored_term, bool booted) {
  const auto grant = grants_.find(term);
  if (grant == grants_.end() || grant->second.holder != node) return violate("run by grant", name(node) + " runs in " + name(term));
  if (const auto other = starts_.find(term); other != starts_.end() && other->second.node != node)
    return violate("one primary a term", name(node) + " and " + name(other->second.node) + " in " + name(term));
  if (stored_term < term) return violate("term first", name(node) + " runs in " + name(term) + " with " + name(stored_term) + " stored");
  // A process that was stopped since its grant can't know; what it must not do then is speak.
  if (over_ && !booted && grants_.rbegin()->first == term)
    return violate("nobody revives it", name(node) + " starts a guest in " + name(term) + " that is over");
  if (!booted) {
    const auto held = held_.find(node.incarnation);
    if (held == held_.end()) return violate("whole image", name(node) + " runs without a whole image");
    if (held->second.length != history.size()) return violate("one epoch", name(node) + " runs from no committed epoch");
  }
  // A process that was stopped between the grant and the start wakes up superseded: it can't know before it has run. What it must not do
  // then is speak, which released() judges.
  const bool outdated = starts_.upper_bound(term) != starts_.end();
  for (std::size_t i = 0; i < seen_.size() && !outdated; ++i) {
    if (!seen_[i]) continue;
    if (i >= history.size() || history[i] != *seen_[i])
      return violate("nothing lost", name(node) + " runs in " + name(term) + " from length " + std::to_string(history.size()) +
                                         ", but clients have seen output " + std::to_string(i));
  }
  starts_[term] = {node, history.size(), false};
}

void Oracle::end_settled(NodeIncarnation node, Term term) {
  if (over_) return;
  if (grants_.empty() || grants_.rbegin()->first != term || grants_.rbegin()->second.holder != node) return;
  over_ = true;
  ++ends_;
}

void Oracle::released(NodeIncarnation node, Term term, GateMode mode, const OutputFrame& frame, const History& history, bool delivered) {
  const std::string frame_name = name(node) + " in " + name(term) + ": output " + std::to_string(frame.index);
  const auto grant = grants_.find(term);
  if (grant == grants_.end() || grant->second.holder != node) return violate("output by grant", frame_name + " is not its holder's");
  if (mode == GateMode::kSolo) {
    if (grant->second.mode != PairMode::kSolo) return violate("solo by grant", frame_name + " left as solo");
  } else {
    const bool held = std::any_of(held_.begin(), held_.end(), [&](const auto& entry) {
      return entry.first != node.incarnation && entry.second.length > frame.index && entry.second.history->size() > frame.index &&
             (*entry.second.history)[frame.index] == history[frame.index];
    });
    if (!held)
      return violate("commit before output", frame_name + " of epoch " + std::to_string(frame.epoch.raw()) + " is held nowhere else");
  }
  for (auto later = starts_.upper_bound(term); later != starts_.end(); ++later)
    if (later->second.node != node && later->second.spoke && frame.index >= later->second.length)
      return violate("nothing after takeover",
                     frame_name + ", but " + name(later->first) + " has taken over from length " + std::to_string(later->second.length));
  if (auto start = starts_.upper_bound(term); start != starts_.begin()) std::prev(start)->second.spoke = true;
  if (seen_.size() <= frame.index) seen_.resize(frame.index + 1);
  auto& seen = seen_[frame.index];
  if (seen && *seen != frame.content) return violate("one history", frame_name + " contradicts what was sent before");
  seen = frame.content;
  if (!delivered) return;
  digest_ = (digest_ ^ frame.content ^ static_cast<std::uint64_t>(to_ns(engine_.now()))) * 0x9e3779b97f4a7c15ULL;
  last_delivery_ = engine_.now();
  deliveries_.push_back(engine_.now());
}

void Oracle::forget_instants() {
  forgotten_ += deliveries_.size();
  deliveries_.clear();
}

Duration Oracle::longest_silence_since(Instant start) const {
  Duration longest{};
  Instant last = start;
  for (const Instant at : deliveries_) {
    if (at < start) continue;
    longest = std::max(longest, at - last);
    last = at;
  }
  return std::max(longest, engine_.now() - last);
}

}  // namespace understudy::sim
