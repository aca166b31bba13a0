#include "failover/daemon/own_probes.h"

namespace understudy {

namespace {
constexpr std::uint64_t kBlockBytes = 4096;  // a large request is as much load as many small ones
}

OwnProbes::OwnProbes(Dependencies dependencies) : deps_{std::move(dependencies)} {
  const Instant now = deps_.loop.clock().now();
  using enum ProbePath;
  const auto expect = [&](ProbeKind kind, ProbePath path) { deps_.evidence.expect(kName, path, traits_of(kind).hysteresis, true, now); };
  if (deps_.has_disks) expect(ProbeKind::kGuestDisk, kGuestDisk);
  expect(ProbeKind::kReceive, kReceive);
  expect(ProbeKind::kScheduler, kScheduler);
  expect(ProbeKind::kThreads, kVcpus);
  expect(ProbeKind::kThreads, kVmm);
  due_ = now;
  slow_due_ = now;
  tick();
}

OwnProbes::~OwnProbes() {
  *alive_ = false;
  deps_.loop.cancel(timer_);
}

// On the node's loop, since the session's may stand in a pause while the disks are well.
void OwnProbes::tick() {
  const Instant now = deps_.loop.clock().now();
  timers_.note(due_, now);
  const GuestNumbers guest = deps_.guest.numbers();
  std::uint64_t blocks = 0;
  for (const DiskReading& disk : guest.disks) blocks += disk.evidence.completed + disk.evidence.completed_bytes / kBlockBytes;
  disk_rate_.note(blocks, now);
  frame_rate_.note(guest.gate.released_frames, now);
  deps_.processes.load(disk_rate_.per_second(), frame_rate_.per_second());
  if (deps_.has_disks) {
    ProbeReport disks = judge_disks(guest.disks, now);
    disks.latency = disk_latency_.take(guest.disks);
    deps_.evidence.take(kName, std::move(disks), now, disk_rate_.per_second());
  }
  if (now >= slow_due_) {
    slow_due_ = now + traits_of(ProbeKind::kThreads).period;
    look_slowly(guest, now);
  }
  due_ = now + traits_of(ProbeKind::kGuestDisk).period;
  timer_ = deps_.loop.call_at(due_, [this] { tick(); });
}

void OwnProbes::look_slowly(const GuestNumbers& guest, Instant now) {
  take(timers_.look(now), now);
  take(received_.look(guest.corrupt_messages + deps_.corrupt_beats(), now), now);
  take(vcpus_.look(read_threads({"vcpu"}), "no vCPU runs here", now), now);
  if (session_.ask(now))
    deps_.guest.answer([this, alive = alive_] {
      if (*alive) session_.answered();
    });
  // The loop that does not answer says more than its thread, which may merely wait.
  ProbeReport threads = loops_.look(read_threads({"session", "egress", "devices"}), "no loop runs", now);
  ProbeReport loop = session_.look("session", now);
  take(threads.health == Health::kHealthy ? std::move(loop) : std::move(threads), now);
}

}  // namespace understudy
