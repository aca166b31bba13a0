#include "failover/heartbeat_codec.h"

#include "failover/failover.capnp.h"
#include "failover/orders_codec.h"
#include "net/payload.h"

namespace understudy {
namespace {

constexpr std::size_t kMaxTextBytes = 200;
constexpr std::size_t kMaxGuestBytes = 600;
constexpr Duration kMaxAge = std::chrono::hours{24};

capnp::Text::Reader text_of(const std::string& text) { return {text.c_str(), text.size()}; }

Error corrupt(const std::string& what) { return {ErrorCode::kCorrupt, what}; }

Result<Heartbeat> read(const Envelope& envelope, schema::Heartbeat::Reader in) {
  Heartbeat out;
  out.sender = {envelope.sender, envelope.incarnation};
  out.term = envelope.term;
  if (out.sender.incarnation == Incarnation{}) return corrupt("the sender has no incarnation");
  out.sequence = in.getSequence();
  out.echo_incarnation = Incarnation{in.getEchoIncarnation()};
  out.echo_sequence = in.getEchoSequence();
  if (in.getRole() > static_cast<std::uint8_t>(Role::kFenced)) return corrupt("role " + std::to_string(in.getRole()) + ", expected 0 to 4");
  out.role = static_cast<Role>(in.getRole());
  out.promise = Term{in.getPromise()};
  out.has_history = in.getHasHistory();
  out.image_whole = in.getImageWhole();
  out.committed = {Term{in.getCommittedTerm()}, Epoch{in.getCommittedEpoch()}};
  out.eligible_peer = Incarnation{in.getEligiblePeer()};
  out.guest_stopped = in.getGuestStopped();
  out.guest = clean_text(in.getGuest(), kMaxGuestBytes);
  if (in.hasHandover()) {
    const auto handover = in.getHandover();
    out.handover = HandoverOffer{Term{handover.getTerm()}, {Term{handover.getFinalTerm()}, Epoch{handover.getFinalEpoch()}}};
  }
  out.refusal = clean_text(in.getRefusal(), kMaxTextBytes);
  if (in.getEvidence().size() > 64) return corrupt(std::to_string(in.getEvidence().size()) + " pieces of evidence, expected at most 64");
  std::array<bool, kProbePathCount> seen{};
  for (const auto evidence : in.getEvidence()) {
    if (evidence.getHealth() > static_cast<std::uint8_t>(Health::kFailed))
      return corrupt("health " + std::to_string(evidence.getHealth()) + ", expected 0 to 3");
    const Duration age{evidence.getAgeNs()};
    if (age < Duration{} || age > kMaxAge) return corrupt("evidence of an age of " + std::to_string(age.count()) + " ns");
    if (evidence.getPath() >= kProbePathCount) continue;  // a later version's probe
    if (std::exchange(seen[evidence.getPath()], true)) return corrupt("two pieces of evidence for one path");
    const auto health = static_cast<Health>(evidence.getHealth());
    if (evidence.getSuspected() && health != Health::kDegraded) return corrupt("a suspicion of a path that is not degraded");
    out.evidence.push_back({static_cast<ProbePath>(evidence.getPath()), health, age, clean_text(evidence.getText(), kMaxTextBytes),
                            evidence.getSuspected(), evidence.getBeyond()});
  }
  if (in.hasHold()) {
    US_ASSIGN(out.hold, read_hold(in.getHold()));
  }
  if (in.getHoldEndsInNs() >= 0) out.hold_ends_in = Duration{in.getHoldEndsInNs()};
  if (out.hold_ends_in > kMaxHoldLength) return corrupt("a hold that ends in " + std::to_string(in.getHoldEndsInNs()) + " ns");
  out.wants_no_peer = in.getWantsNoPeer();
  out.just_moved = in.getJustMoved();
  return out;
}

}  // namespace

Message encode_heartbeat(PairId pair, const Heartbeat& heartbeat) {
  const auto payload = build_payload<schema::Heartbeat>([&](schema::Heartbeat::Builder out) {
    out.setSequence(heartbeat.sequence);
    out.setEchoIncarnation(heartbeat.echo_incarnation.raw());
    out.setEchoSequence(heartbeat.echo_sequence);
    out.setRole(static_cast<std::uint8_t>(heartbeat.role));
    out.setPromise(heartbeat.promise.raw());
    out.setHasHistory(heartbeat.has_history);
    out.setImageWhole(heartbeat.image_whole);
    out.setCommittedTerm(heartbeat.committed.term.raw());
    out.setCommittedEpoch(heartbeat.committed.epoch.raw());
    out.setEligiblePeer(heartbeat.eligible_peer.raw());
    out.setGuestStopped(heartbeat.guest_stopped);
    out.setGuest(text_of(heartbeat.guest));
    if (heartbeat.handover) {
      auto handover = out.initHandover();
      handover.setTerm(heartbeat.handover->term.raw());
      handover.setFinalTerm(heartbeat.handover->final_epoch.term.raw());
      handover.setFinalEpoch(heartbeat.handover->final_epoch.epoch.raw());
    }
    out.setRefusal(text_of(heartbeat.refusal));
    if (heartbeat.hold.revision != 0) write_hold(heartbeat.hold, out.initHold());
    if (heartbeat.hold_ends_in) out.setHoldEndsInNs(std::clamp(*heartbeat.hold_ends_in, Duration{}, kMaxHoldLength).count());
    out.setWantsNoPeer(heartbeat.wants_no_peer);
    auto evidence = out.initEvidence(static_cast<unsigned>(heartbeat.evidence.size()));
    for (unsigned i = 0; i < evidence.size(); ++i) {
      const PathEvidence& path = heartbeat.evidence[i];
      evidence[i].setPath(static_cast<std::uint8_t>(path.path));
      evidence[i].setHealth(static_cast<std::uint8_t>(path.health));
      evidence[i].setAgeNs(std::clamp(path.age, Duration{}, kMaxAge).count());
      evidence[i].setText(text_of(path.text));
      evidence[i].setSuspected(path.suspected);
      evidence[i].setBeyond(path.beyond);
    }
    out.setJustMoved(heartbeat.just_moved);
  });
  const Envelope envelope{.kind = kHeartbeatKind,
                          .pair = pair,
                          .sender = heartbeat.sender.node,
                          .incarnation = heartbeat.sender.incarnation,
                          .term = heartbeat.term,
                          .session = Session{},
                          .epoch = heartbeat.committed.epoch};
  return encode(envelope, payload);
}

Result<Heartbeat> decode_heartbeat(const DecodedMessage& message) {
  if (message.envelope.kind != kHeartbeatKind) return corrupt("message kind " + std::to_string(message.envelope.kind) + ", expected 32");
  auto heartbeat =
      read_payload<schema::Heartbeat>(message.payload.bytes(), [&](schema::Heartbeat::Reader in) { return read(message.envelope, in); });
  if (!heartbeat) return std::move(heartbeat.error()).within("heartbeat");
  return heartbeat;
}

}  // namespace understudy
