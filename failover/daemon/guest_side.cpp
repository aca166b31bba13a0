// Building the guest's side, and the guest's life: boot, takeover, stop.
#include "failover/daemon/guest_side.h"

#include <algorithm>
#include <filesystem>

#include <fmt/format.h>

#include "failover/daemon/guest_end.h"
#include "failover/daemon/log_setup.h"
#include "failover/daemon/serial_log.h"
#include "net/tap.h"
#include "replication/rocksdb_cut_store.h"
#include "vmm/fingerprint.h"

namespace understudy {

namespace {

constexpr std::size_t kStagingBuffers = 8;
constexpr std::size_t kMinStagingPages = 256;
constexpr std::size_t kMaxStagingPages = 4096;  // 16 MiB a buffer

constexpr Duration kStopDeadline = std::chrono::seconds{1};
constexpr Duration kFirstInstructionPoll = std::chrono::microseconds{500};
constexpr unsigned kFirstInstructionPolls = 2000;
constexpr Duration kGatePoll = std::chrono::milliseconds{1};

}  // namespace

Result<std::unique_ptr<GuestSide>> GuestSide::create(Dependencies dependencies, Egress& egress) {
  std::unique_ptr<GuestSide> side{new GuestSide{std::move(dependencies), egress}};
  US_ASSIGN(side->memory_, GuestMemory::create(side->deps_.config.vm.memory_bytes));
  US_TRY(side->open_disks());
  US_TRY(side->open_cut());
  US_TRY(side->build_machine());
  const std::size_t pages_each = std::clamp(side->memory_->page_count() / kStagingBuffers, kMinStagingPages, kMaxStagingPages);
  US_ASSIGN(side->staging_, StagingPool::create(kStagingBuffers, pages_each));
  US_TRY(side->open_link());
  egress.gate()->on_output([side = side.get(), alive = std::weak_ptr{side->alive_}](Epoch epoch) {
    side->deps_.loop.post([side, alive, epoch] {
      const auto still = alive.lock();
      if (still && *still) side->with_primary([&](PrimarySession& session) { session.output_waits(epoch, side->now()); });
    });
  });
  side->show_guest("not started");
  return side;
}

GuestSide::~GuestSide() {
  *alive_ = false;
  deps_.loop.cancel(timer_);
  deps_.loop.cancel(link_timer_);
  primary_.reset();
  secondary_.reset();
  durable_.reset();
  cut_.reset();
  link_.reset();
  machine_.reset();
}

Result<void> GuestSide::open_disks() {
  for (const auto& config : deps_.config.disks) {
    auto io = open_block_io(config.image, config.read_only);
    if (!io) return std::move(io.error()).within("disk " + config.id);
    Disk disk;
    disk.image = DiskImage::start(std::move(*io), deps_.clock);
    disk.image->on_error([id = config.id](const Error& error) {
      log(Severity::kError, "disk image fails; the guest's request waits", {{"disk", id}, {"reason", error.text()}});
    });
    disk.peers = std::make_unique<SecondaryDisk>(disk.image);
    disks_.push_back(std::move(disk));
  }
  return {};
}

Result<void> GuestSide::open_cut() {
  const auto path = deps_.config.state_dir / "cut";
  CutStoreConfig config{.page_count = memory_->page_count()};
  for (const Disk& disk : disks_) config.disks.push_back(disk.image->size_bytes());
  auto store = RocksDbCutStore::open(path, config);
  if (!store && store.error().code() == ErrorCode::kCorrupt) {
    // What can't be read can't be started from, and the next full transfer makes another. It is kept for whoever wants to look at it.
    const auto aside = path.string() + ".damaged";
    log(Severity::kError, "durable cut is damaged and put aside", {{"to", aside}, {"reason", store.error().text()}});
    std::error_code error;
    std::filesystem::remove_all(aside, error);
    std::filesystem::rename(path, aside, error);
    if (!error) store = RocksDbCutStore::open(path, config);
  }
  if (!store) return std::move(store.error());
  US_ASSIGN(const auto cut, (*store)->cut());
  if (cut && cut->at > deps_.spoiled) stored_cut_ = cut->at;
  US_ASSIGN(cut_, CutThread::start(
                      std::move(*store), deps_.loop, deps_.clock,
                      [&nodes_store = deps_.store](CommittedEpoch through, CutWriter::Done done) {
                        nodes_store.put_spoiled(through, std::move(done));
                      },
                      [this] { cut_answered(); }));
  return {};
}

Result<void> GuestSide::build_machine() {
  const auto& vm = deps_.config.vm;
  MachineConfig config;
  config.vcpu_count = vm.vcpus;
  config.cpu_model = vm.cpu_model;
  config.kernel_path = vm.kernel.string();
  if (vm.initrd) config.initrd_path = vm.initrd->string();
  config.command_line = vm.cmdline;
  config.boot_protocol = vm.boot_protocol;
  config.virtio_on_command_line = vm.virtio_on_cmdline;
  config.devices.serial_sink = [lines = SerialLog{}, console = deps_.console](ConstBytes bytes) mutable {
    console->write(bytes);
    lines(bytes);
  };
  config.devices.balloon_pages = vm.balloon_bytes / kPageSizeBytes;
  config.devices.net.push_back({.mac = deps_.config.net.mac, .backend = egress_.gate(), .queue_pairs = vm.vcpus});
  for (std::size_t i = 0; i < disks_.size(); ++i) {
    ReplicatedDiskConfig disk_config;
    disk_config.serial_number = deps_.config.disks[i].id;
    US_ASSIGN(disks_[i].guests, ReplicatedDisk::create(disks_[i].image, std::move(disk_config)));
    config.devices.blk.push_back({disks_[i].guests});
  }
  config.panic_ends_guest = vm.restart.on_panic != OnEnd::kNothing;
  config.on_panic = [report = deps_.report](const std::string& text) {
    log(Severity::kWarning, "guest panicked", {{"what", text}});
    report(input::GuestNoted{at_time_of_day(text)});
  };
  config.on_event = [this, alive = std::weak_ptr{alive_}](const MachineEvent& event) {
    log(Severity::kWarning, "guest ended", {{"event", name_of(event.kind)}, {"what", event.text}});
    // Decided on the session's loop: the machine waits.
    deps_.loop.post([this, alive, event] {
      const auto still = alive.lock();
      if (still && *still && machine_ && machine_->event()) guest_ended(event);
    });
  };
  US_ASSIGN(machine_, Machine::create(std::move(config), memory_, deps_.clock));
  return {};
}

Result<void> GuestSide::rebuild_keeping_memory() {
  primary_.reset();
  drop_secondary();
  machine_.reset();
  return build_machine();
}

void GuestSide::boot_guest(Term term) {
  auto started = machine_->boot();
  if (started) started = machine_->resume();
  if (!started) {
    show_guest("failed to start");
    log(Severity::kError, "guest not booted", {{"reason", started.error().text()}});
    deps_.report(input::GuestFailed{term, started.error().text()});
    return;
  }
  guest_runs(term);
}

void GuestSide::guest_runs(Term term) {
  restarts_.started(now());
  show_guest("running");
  deps_.report(input::GuestRunning{term});
}

void GuestSide::take_over(const action::TakeOver& action) {
  const Term term = action.term;
  const auto fail = [&](const Error& error) {
    show_guest("takeover failed");
    log(Severity::kError, "takeover failed", {{"reason", error.text()}});
    deps_.report(input::GuestFailed{term, error.text()});
  };
  if (!secondary_) return fail(Error{ErrorCode::kRefused, "take over: this node holds no image"});
  // The granted term is stored, and has spoiled the cut: nothing stands between the disks and what was committed any more.
  durable_->end();
  auto image = secondary_->prepare_takeover();
  if (!image) return fail(image.error());
  const bool over = !image->ended.empty();
  if (!over || !action.start) {
    if (auto restored = machine_->restore(image->state.bytes); !restored) return fail(restored.error());
  } else if (auto booted = machine_->boot(); !booted) {
    return fail(booted.error());
  }
  deps_.timeline.record("restored", term, fmt::format("epoch {} of term {}", image->at.epoch.raw(), image->at.term.raw()));
  drop_secondary();
  egress_.discard_waiting();
  egress_.on_next_release([timeline = &deps_.timeline, term] { timeline->record("first-release", term); });
  // A switchover keeps the old primary as the peer, whose image is this very state: go on from it without a full transfer.
  if (egress_.gate()->stats().mode == EgressMode::kPair && !over) {
    ensure_primary();
    if (auto begun = primary_->begin_from(image->at, now()); !begun)
      log(Severity::kWarning, "a full transfer will be needed", {{"reason", begun.error().text()}});
  }
  if (over && !action.start) return stay_ended(image->ended);
  if (auto resumed = machine_->resume(); !resumed) return fail(resumed.error());
  watch_first_instruction(term, kFirstInstructionPolls);
  guest_runs(term);
}

void GuestSide::watch_first_instruction(Term term, unsigned attempts_left) {
  if (const auto entered = machine_->first_entry()) {
    deps_.timeline.record("first-instruction", *entered, term);
  } else if (attempts_left > 0) {
    deps_.loop.call_at(now() + kFirstInstructionPoll, [this, alive = alive_, term, attempts_left] {
      if (*alive && machine_) watch_first_instruction(term, attempts_left - 1);
    });
  }
}

void GuestSide::finish_guest() {
  if (!primary_) {
    deps_.report(input::HandoverFailed{"no session is up"});
    return;
  }
  with_primary([&](PrimarySession& session) { session.final_epoch(now()); });
}

void GuestSide::wait_for_empty_gate(CommittedEpoch at, Instant deadline) {
  if (egress_.gate()->empty()) {
    final_epoch_ = at;
    show_guest("paused");
    deps_.report(input::HandoverFinished{{at.term, at.epoch}});
  } else if (now() >= deadline) {
    deps_.report(input::HandoverFailed{"the guest's last frames could not leave within 2 s"});
  } else {
    deps_.loop.call_at(now() + kGatePoll, [this, alive = alive_, at, deadline] {
      if (*alive) wait_for_empty_gate(at, deadline);
    });
  }
}

void GuestSide::resume_guest(Term term) {
  final_epoch_.reset();
  Result<void> resumed;
  if (primary_)
    resumed = primary_->resume_guest(now());
  else if (machine_->paused())
    resumed = machine_->resume();
  rearm();
  if (!resumed) {
    deps_.report(input::GuestFailed{term, resumed.error().text()});
    return;
  }
  show_guest("running");
  deps_.report(input::GuestRunning{term});
}

void GuestSide::stop_guest(const std::string& reason) {
  primary_.reset();
  rearm();
  log(Severity::kWarning, "guest stopped here", {{"reason", reason}});
  if (auto paused = machine_->pause(kStopDeadline); !paused) {
    // Whatever holds it up, the guest must not go on here: without the machine there is nothing to run it.
    log(Severity::kError, "vCPUs did not stop; the machine is taken down", {{"reason", paused.error().text()}});
    machine_.reset();
  }
  show_guest("stopped: " + reason);
}

void GuestSide::set_gate(const action::SetGate& action, std::optional<Instant> confirmed_since) {
  EgressGate& gate = *egress_.gate();
  if (action.mode != GateMode::kMute && gate.stats().mode == EgressMode::kMute && secondary_ && secondary_->image_whole() && gate.empty())
    gate.set_open_epoch(after(secondary_->committed().epoch));
  switch (action.mode) {
    case GateMode::kMute:
      gate.mute();
      break;
    case GateMode::kHold:
      gate.hold(action.term);
      break;
    case GateMode::kPair:
      gate.pair(action.term);
      break;
    case GateMode::kSolo:
      gate.solo(action.term);
      break;
  }
  if (confirmed_since) gate.confirm_term(action.term, *confirmed_since);
  deps_.report(input::GateSet{action.order, gate.open_epoch()});
}

void GuestSide::promise(Term promised) {
  promised_ = std::max(promised_, promised);
  if (secondary_) secondary_->promise(promised_);
}

std::size_t GuestSide::type(ConstBytes input) { return machine_ ? machine_->serial_input(input) : 0; }

Result<BalloonBytes> GuestSide::balloon(std::optional<std::uint64_t> target_bytes) {
  if (!machine_) return Error{ErrorCode::kUnavailable, "no machine runs here; restart this daemon"};
  if (target_bytes) US_TRY(machine_->set_balloon_target(*target_bytes / kPageSizeBytes));
  const auto pages = machine_->balloon();
  return BalloonBytes{pages.target * kPageSizeBytes, pages.actual * kPageSizeBytes};
}

void GuestSide::show_guest(std::string state) {
  const std::lock_guard lock{numbers_mutex_};
  numbers_.guest = std::move(state);
}

void GuestSide::show_committed(CommittedEpoch at) {
  set_log_epoch(at.epoch);
  const std::lock_guard lock{numbers_mutex_};
  numbers_.committed_epoch = at.epoch;
  numbers_.open_epoch = after(at.epoch);
}

std::vector<EpochLine> GuestSide::epochs(Epoch from) const {
  const std::lock_guard lock{numbers_mutex_};
  return epochs_.lines(from);
}

GuestNumbers GuestSide::numbers() const {
  GuestNumbers numbers;
  {
    const std::lock_guard lock{numbers_mutex_};
    numbers = numbers_;
    numbers.epochs = epochs_.summary();
  }
  // No file system is touched: a stuck disk is told of like any other.
  for (std::size_t i = 0; i < disks_.size(); ++i) numbers.disks.push_back({deps_.config.disks[i].id, disks_[i].image->evidence(now())});
  const EgressGateStats gate = egress_.gate()->stats();
  numbers.gate = {name_of(gate.mode), gate.depth_frames, gate.depth_bytes, gate.released,
                  gate.dropped_muted + gate.dropped_by_port + gate.dropped_received};
  return numbers;
}

}  // namespace understudy
