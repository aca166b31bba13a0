#include "tests/explore/judge.h"

namespace understudy::explore {

bool in_past_of(const Ledger& ledger, Point earlier, Point later) {
  if (earlier.branch == 0) return true;
  while (later.branch != 0) {
    if (later.branch == earlier.branch) return earlier.epoch <= later.epoch;
    later = ledger.starts[later.branch].from;
  }
  return false;
}

Broken granted(Ledger& ledger, const ArbiterRecord& record, bool holder_lives, const Point* holder_image) {
  if (record.term.raw() <= ledger.top) return "a term is granted once";
  const Grant before = ledger.grants[ledger.top];
  Grant grant{.holder = static_cast<std::uint8_t>(record.holder.incarnation.raw()), .peer = 0, .solo = record.mode == PairMode::kSolo};
  for (const NodeIncarnation& eligible : record.eligible)
    if (eligible != record.holder) grant.peer = static_cast<std::uint8_t>(eligible.incarnation.raw());
  ledger.top = static_cast<std::uint8_t>(record.term.raw());
  ledger.grants[ledger.top] = grant;
  if (before.holder == 0 || grant.holder == before.holder) return grant.solo && grant.peer != 0 ? "solo strikes the peer" : nullptr;
  if (grant.holder != before.peer) return "only the eligible are granted";
  if (grant.solo && grant.peer != 0) return "solo strikes the peer";
  if (holder_lives && (holder_image == nullptr || !in_past_of(ledger, ledger.seen, *holder_image)))
    return "who is granted holds all output";
  return nullptr;
}

Broken takeover_asked(Term term, const Stable& stable) { return stable.promise > term.raw() ? nullptr : "promise before asking"; }

namespace {
Broken acts(const Ledger& ledger, std::uint8_t incarnation, std::uint8_t term, const Stable& stable) {
  if (term == 0 || ledger.grants[term].holder != incarnation) return "only a term's holder acts in it";
  return stable.term < term ? "a term is stored before it is acted in" : nullptr;
}
}  // namespace

Broken gate_opened(const Ledger& ledger, std::uint8_t incarnation, std::uint8_t term, bool solo, const Stable& stable) {
  if (const Broken broken = acts(ledger, incarnation, term, stable)) return broken;
  return solo && ledger.grants[term].solo == 0 ? "solo only by grant" : nullptr;
}

Broken guest_started(Ledger& ledger, std::uint8_t incarnation, std::uint8_t term, Point from, const Stable& stable) {
  if (const Broken broken = acts(ledger, incarnation, term, stable)) return broken;
  if (ledger.starts[term].by != 0) return "a guest starts once a term";
  // Whoever was stopped between grant and start can't know that it is superseded before it has run; what it must not do then is speak.
  const bool outdated =
      std::any_of(ledger.starts.begin() + term + 1, ledger.starts.end(), [](const Start& start) { return start.by != 0; });
  ledger.starts[term] = {incarnation, from};
  return outdated || in_past_of(ledger, ledger.seen, from) ? nullptr : "nothing that was seen is lost";
}

Broken guest_resumed(const Ledger& ledger, std::uint8_t incarnation, std::uint8_t term, const Stable& stable) {
  return acts(ledger, incarnation, term, stable);
}

Broken released(Ledger& ledger, std::size_t host, const Process& process, Point frame) {
  const Grant& grant = ledger.grants[process.gate_term];
  if (grant.holder != process.incarnation) return "only a term's holder speaks in it";
  if (process.gate == GateMode::kSolo) {
    if (grant.solo == 0) return "solo only by grant";
  } else {
    const std::size_t peer = 1 - host;
    if (grant.solo == 0 && grant.peer != process.gate_peer) return "the eligible peer commits";
    if (ledger.held_by[peer] != process.gate_peer || !in_past_of(ledger, frame, ledger.held[peer])) return "commit before output";
  }
  if (in_past_of(ledger, frame, ledger.seen)) return nullptr;
  // One history: what leaves goes on from all that left before. So nothing of an older term passes once a newer one has spoken.
  if (!in_past_of(ledger, ledger.seen, frame)) return "nothing of an older term after a newer one";
  ledger.seen = frame;
  return nullptr;
}

void committed(Ledger& ledger, std::size_t host, std::uint8_t incarnation, Point image) {
  ledger.held[host] = image;
  ledger.held_by[host] = incarnation;
}

Broken acked(std::uint8_t term, const Stable& stable) { return term < stable.promise ? "no ack below the promise" : nullptr; }

}  // namespace understudy::explore
