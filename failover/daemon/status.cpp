#include "failover/daemon/status.h"

#include <cmath>

#include <fmt/format.h>

#include "failover/daemon/json.h"
#include "failover/daemon/wall_time.h"

namespace understudy {

namespace {

std::string_view view(capnp::Text::Reader text) { return {text.begin(), text.size()}; }

// Empty when there is nothing to tell.
std::string describe_transfer(schema::Status::Transfer::Reader transfer) {
  if (view(transfer.getKind()).empty()) return "";
  const auto mib = [](std::uint64_t bytes) { return static_cast<double>(bytes) / (1 << 20); };
  const double seconds = static_cast<double>(transfer.getTookMs()) / 1000;
  const double sent = mib(transfer.getSentBytes());
  std::string text = fmt::format("{}: {:.1f} MiB sent in {:.1f} s", view(transfer.getKind()), sent, seconds);
  if (!transfer.getUnderWay()) return text;
  const double left = mib(transfer.getLeftBytes());
  text += fmt::format(", {:.1f} MiB left", left);
  if (sent > 0 && seconds > 0.5) text += fmt::format(", about {:.0f} s", std::ceil(left / (sent / seconds)));
  return text;
}

std::string describe_links(schema::Status::Links::Reader links) {
  std::string text;
  const auto add = [&text](const std::string& more) { text += (text.empty() ? "" : ", ") + more; };
  if (links.getInsecure()) add("INSECURE: anybody on their network may pose as the peer or the witness");
  if (links.getRefused() > 0)
    add(fmt::format("{} connections refused, the last from {}", links.getRefused(), view(links.getLastRefused())));
  const std::pair<std::uint64_t, const char*> dropped[] = {{links.getStrangers(), "strangers'"},
                                                           {links.getOversized(), "oversized"},
                                                           {links.getMalformed(), "malformed"},
                                                           {links.getStale(), "stale"}};
  for (const auto& [count, what] : dropped) {
    if (count > 0) add(fmt::format("{} messages dropped as {}", count, what));
  }
  return text;
}

// For the headline; empty where nothing is held.
std::string told_of_hold(schema::Status::Hold::Reader hold) {
  if (!hold.getHeld()) return {};
  return fmt::format(", HELD by {} since {}{}{}{}", view(hold.getBy()), view(hold.getSince()),
                     hold.getUntil().size() > 0 ? fmt::format(" until {}", view(hold.getUntil())) : "",
                     hold.getReason().size() > 0 ? fmt::format(" ({})", view(hold.getReason())) : "",
                     hold.getBothKnow() ? "" : "; the other node has not said that it knows");
}

// Empty before any output had to wait.
std::string told_of_output(schema::Status::Pacing::Reader pacing) {
  if (pacing.getLateMedianUs() == 0) return {};
  std::string text = fmt::format("late by {} us (p99 {})", pacing.getLateMedianUs(), pacing.getLateP99Us());
  if (pacing.getShortestUs() > 0)
    text += fmt::format("; its epochs last {} us at least, bounded by {}", pacing.getShortestUs(), view(pacing.getBound()));
  if (pacing.getBroken().size() > 0) text += fmt::format("; BUDGET NOT HELD: {}", view(pacing.getBroken()));
  return text;
}

}  // namespace

void write_status(const Status& status, schema::Status::Builder out) {
  out.setPair(status.pair);
  out.setNode(status.node);
  out.setRole(status.role);
  out.setMode(status.mode);
  out.setTerm(status.term.raw());
  out.setEpoch(status.epoch.raw());
  out.setCommittedEpoch(status.committed_epoch.raw());
  out.setProtected(status.is_protected);
  out.setReason(status.reason);
  out.setVerdict(status.verdict);
  out.setPeerVerdict(status.peer_verdict);
  out.setGuest(status.guest);
  out.setEnded(status.ended);
  out.setArbiter(status.arbiter);
  out.setArbiterAnswers(status.arbiter_answers);
  out.setIncarnation(std::to_string(status.incarnation.raw()));
  out.setPromise(status.promise.raw());
  if (status.hold) {
    auto hold = out.initHold();
    hold.setHeld(true);
    hold.setBy(status.hold->by);
    hold.setReason(status.hold->reason);
    hold.setSince(utc(status.hold->since_ns));
    if (status.hold->until_ns != 0) hold.setUntil(utc(status.hold->until_ns));
    hold.setBothKnow(status.hold->both_know);
  }
  out.setFencedByOrder(status.fenced_by_order);
  out.setWantsNoPeer(status.wants_no_peer);
  out.setVersion(UNDERSTUDY_VERSION);
  auto timeline = out.initTimeline(static_cast<unsigned>(status.timeline.size()));
  for (unsigned i = 0; i < timeline.size(); ++i) {
    const auto& moment = status.timeline[i];
    timeline[i].setName(moment.name);
    timeline[i].setMonotonicNs(static_cast<std::uint64_t>(moment.monotonic_ns));
    timeline[i].setRealtimeNs(static_cast<std::uint64_t>(moment.realtime_ns));
    timeline[i].setTerm(moment.term.raw());
    timeline[i].setText(moment.text);
  }
  auto gate = out.initGate();
  gate.setMode(status.gate.mode);
  gate.setDepthFrames(status.gate.depth_frames);
  gate.setDepthBytes(status.gate.depth_bytes);
  gate.setReleasedFrames(status.gate.released_frames);
  gate.setDroppedFrames(status.gate.dropped_frames);
  auto transfer = out.initTransfer();
  transfer.setKind(!status.transfer.known ? "" : status.transfer.resync ? "resync" : "full");
  transfer.setUnderWay(status.transfer.under_way);
  transfer.setSentBytes(status.transfer.sent_bytes);
  transfer.setLeftBytes(status.transfer.left_bytes);
  transfer.setTookMs(status.transfer.took_ms);
  auto scrub = out.initScrub();
  scrub.setPages(status.scrub.pages);
  scrub.setPosition(status.scrub.position);
  scrub.setPasses(status.scrub.passes);
  scrub.setDiffering(status.scrub.differing);
  scrub.setVerifying(status.scrub.verifying);
  auto last = out.initLast();
  last.setPauseUs(status.last.pause_us);
  last.setDirtyPages(status.last.dirty_pages);
  last.setSentBytes(status.last.sent_bytes);
  last.setAckUs(status.last.ack_us);
  last.setPauseMedianUs(status.last.pause_median_us);
  last.setPauseP99Us(status.last.pause_p99_us);
  auto pacing = out.initPacing();
  pacing.setShortestUs(status.pacing.shortest_us);
  pacing.setBound(status.pacing.bound);
  pacing.setLateMedianUs(status.pacing.late_median_us);
  pacing.setLateP99Us(status.pacing.late_p99_us);
  pacing.setBroken(status.pacing.broken);
  auto probes = out.initProbes(static_cast<unsigned>(status.probes.size()));
  for (unsigned i = 0; i < probes.size(); ++i) {
    probes[i].setPath(status.probes[i].path);
    probes[i].setHealth(status.probes[i].health);
    probes[i].setText(status.probes[i].text);
    probes[i].setName(status.probes[i].name);
    probes[i].setAgeMs(status.probes[i].age_ms);
  }
  auto links = out.initLinks();
  links.setInsecure(status.insecure);
  links.setRefused(status.links.refusals.count);
  links.setLastRefused(status.links.refusals.last);
  links.setStrangers(status.links.strangers);
  links.setOversized(status.links.oversized);
  links.setMalformed(status.links.malformed);
  links.setStale(status.links.stale);
  auto durable = out.initDurable();
  durable.setLevel(status.durable.level);
  durable.setEpoch(status.durable.epoch.raw());
  durable.setBehindMs(status.durable.behind_ms);
  durable.setTrouble(status.durable.trouble);
  durable.setWaitingBytes(status.durable.waiting_bytes);
  auto disks = out.initDisks(static_cast<unsigned>(status.disks.size()));
  for (unsigned i = 0; i < disks.size(); ++i) {
    const auto& disk = status.disks[i];
    disks[i].setId(disk.id);
    disks[i].setOutstanding(disk.outstanding);
    disks[i].setOldestMs(disk.oldest_ms);
    disks[i].setCompleted(disk.completed);
    disks[i].setErrors(disk.errors);
    disks[i].setLastError(disk.last_error);
  }
}

void write_epoch(const EpochLine& line, schema::EpochLine::Builder out) {
  out.setEpoch(line.epoch.raw());
  out.setPauseUs(line.pause_us);
  out.setDirtyPages(line.dirty_pages);
  out.setSentBytes(line.sent_bytes);
  out.setAckUs(line.ack_us);
  out.setGateFrames(line.gate_frames);
}

std::string epoch_as_text(schema::EpochLine::Reader line) {
  return fmt::format("epoch {}: pause {} us, {} dirty pages, {} bytes, ack after {} us, {} frames in the gate\n", line.getEpoch(),
                     line.getPauseUs(), line.getDirtyPages(), line.getSentBytes(), line.getAckUs(), line.getGateFrames());
}

namespace {

std::string describe_durable(schema::Status::Durable::Reader durable) {
  if (durable.getLevel().size() == 0) return {};
  std::string text = durable.getEpoch() == 0 ? "none" : fmt::format("epoch {}", durable.getEpoch());
  if (durable.getBehindMs() > 0) text += fmt::format(", {} ms behind", durable.getBehindMs());
  text += fmt::format("; an ack means {}", view(durable.getLevel()));
  if (durable.getTrouble().size() > 0) text += fmt::format("; {}", view(durable.getTrouble()));
  return text;
}

}  // namespace

std::string status_as_json(schema::Status::Reader status) { return as_json(status, JsonForm::kIndented); }

std::string status_as_text(schema::Status::Reader status) {
  std::string text;
  const auto line = [&text](std::string_view label, const std::string& value) {
    if (!value.empty()) text += fmt::format("{:<12}{}\n", label, value);
  };
  const std::string protection = status.getProtected() ? "protected" : "NOT PROTECTED";
  line("pair",
       fmt::format("{} (this is node {}, incarnation {})", view(status.getPair()), view(status.getNode()), view(status.getIncarnation())));
  line("role", fmt::format("{}, {}{}", view(status.getRole()), protection, told_of_hold(status.getHold())));
  line("why", std::string{view(status.getReason())});
  line("guest", std::string{view(status.getGuest())});
  line("term", fmt::format("{}{}{}{}", status.getTerm(), view(status.getMode()).empty() ? "" : ", granted as ", view(status.getMode()),
                           status.getPromise() > status.getTerm() ? fmt::format(", promised {}", status.getPromise()) : ""));
  line("arbiter", std::string{view(status.getArbiter())});
  line("epoch", fmt::format("{} committed, {} open", status.getCommittedEpoch(), status.getEpoch()));
  line("this host", std::string{view(status.getVerdict())});
  line("peer", std::string{view(status.getPeerVerdict())});
  const auto last = status.getLast();
  if (last.getPauseUs() > 0)
    line("last epoch",
         fmt::format("pause {} us (median {}, p99 {}), {} dirty pages, {} bytes, ack after {} us", last.getPauseUs(),
                     last.getPauseMedianUs(), last.getPauseP99Us(), last.getDirtyPages(), last.getSentBytes(), last.getAckUs()));
  line("transfer", describe_transfer(status.getTransfer()));
  if (const auto scrub = status.getScrub(); scrub.getPages() > 0)
    line("scrub", fmt::format("{}{} % of {} pages compared with the peer's, {} times all before; {} were not the same",
                              scrub.getVerifying() ? "verifying: " : "", scrub.getPosition() * 100 / scrub.getPages(), scrub.getPages(),
                              scrub.getPasses(), scrub.getDiffering()));
  line("output", told_of_output(status.getPacing()));
  const auto gate = status.getGate();
  line("gate", fmt::format("{}: {} frames ({} bytes) waiting, {} released, {} dropped", view(gate.getMode()), gate.getDepthFrames(),
                           gate.getDepthBytes(), gate.getReleasedFrames(), gate.getDroppedFrames()));
  for (const auto probe : status.getProbes())
    line("probe", fmt::format("{}: {}, {} ms ago, by {} ({})", view(probe.getPath()), view(probe.getHealth()), probe.getAgeMs(),
                              view(probe.getName()), view(probe.getText())));
  line("durable cut", describe_durable(status.getDurable()));
  for (const auto disk : status.getDisks()) {
    std::string value = fmt::format("{}: {} requests done, {} outstanding", view(disk.getId()), disk.getCompleted(), disk.getOutstanding());
    if (disk.getOutstanding() > 0) value += fmt::format(" (oldest {} ms)", disk.getOldestMs());
    if (disk.getErrors() > 0) value += fmt::format(", {} errors, the last: {}", disk.getErrors(), view(disk.getLastError()));
    line("disk", value);
  }
  line("links", describe_links(status.getLinks()));
  if (const auto control = status.getControl(); control.getRefused() > 0)
    line("control", fmt::format("{} requests refused, the last: {}", control.getRefused(), view(control.getLastRefused())));
  if (status.getTimeline().size() > 0) {
    const auto first_ns = status.getTimeline()[0].getMonotonicNs();
    for (const auto moment : status.getTimeline())
      line("timeline", fmt::format("{:+10.3f} ms  {}{}{}", static_cast<double>(moment.getMonotonicNs() - first_ns) / 1e6,
                                   view(moment.getName()), moment.getText().size() > 0 ? ": " : "", view(moment.getText())));
  }
  return text;
}

}  // namespace understudy
