#include "vmm/devices/rtc/rtc.h"

#include <algorithm>
#include <span>
#include <unistd.h>
#include <utility>

#include <sys/timerfd.h>

#include "vmm/devices/rtc/state.capnp.h"
#include "vmm/devices/saved_state.h"

namespace understudy {
namespace {

constexpr std::uint64_t kIndexPort = 0;
constexpr std::uint8_t kIndexMask = 0x7F;  // the uppermost bit masks NMIs, of which there are none

}  // namespace

Result<std::unique_ptr<Rtc>> Rtc::create(std::string id, EventLoop& loop, std::uint64_t memory_bytes, HostWallClock host_wall) {
  US_ASSIGN(auto interrupt, InterruptLine::create());
  UniqueFd timer{::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)};
  if (!timer) return Error::from_errno("device " + id + ": create its timer");
  return std::unique_ptr<Rtc>{new Rtc{std::move(id), loop, memory_bytes, std::move(host_wall), std::move(interrupt), std::move(timer)}};
}

Rtc::Rtc(std::string id, EventLoop& loop, std::uint64_t memory_bytes, HostWallClock host_wall, InterruptLine interrupt, UniqueFd timer)
    : id_{std::move(id)},
      loop_{loop},
      host_wall_{std::move(host_wall)},
      interrupt_{std::move(interrupt)},
      timer_{std::move(timer)},
      watch_{loop, timer_.get(), [this] { expired(); }},
      chip_{0, memory_bytes} {}

void Rtc::detach() {
  US_CHECK(quiesce().has_value());
  watch_.disarm();
}

std::int64_t Rtc::now_ns() const { return quiesced_ ? frozen_ns_ : (loop_.clock().now() - started_at_).count(); }

void Rtc::arm() {
  itimerspec spec{};
  const std::int64_t now = now_ns();
  if (const auto next = quiesced_ ? std::nullopt : chip_.next_event(now)) {
    const std::int64_t wait = std::max<std::int64_t>(*next - now, 1);  // 0 would disarm
    spec.it_value.tv_sec = wait / 1'000'000'000;
    spec.it_value.tv_nsec = wait % 1'000'000'000;
  }
  ::timerfd_settime(timer_.get(), 0, &spec, nullptr);
}

void Rtc::expired() {
  bool raise = false;
  {
    const std::lock_guard lock{mutex_};
    std::uint64_t count = 0;
    [[maybe_unused]] const auto got = ::read(timer_.get(), &count, sizeof count);
    if (quiesced_) return;
    const bool was_pending = chip_.interrupt_pending();
    chip_.advance(now_ns());
    raise = !was_pending && chip_.interrupt_pending();
    arm();
  }
  if (raise) interrupt_.raise();
}

void Rtc::read(std::uint64_t offset, MutableBytes out) {
  bool raise = false;
  {
    const std::lock_guard lock{mutex_};
    for (std::size_t i = 0; i < out.size(); ++i) {
      out[i] = std::byte{0xFF};  // the index is write-only
      if (offset + i == kIndexPort) continue;
      const bool was_pending = chip_.interrupt_pending();
      out[i] = static_cast<std::byte>(chip_.read(index_, now_ns()));
      raise = !was_pending && chip_.interrupt_pending();
      // Only a read of C changes what comes next.
      if (index_ == Mc146818::kC || raise) arm();
    }
  }
  if (raise) interrupt_.raise();
}

void Rtc::write(std::uint64_t offset, ConstBytes in) {
  bool raise = false;
  {
    const std::lock_guard lock{mutex_};
    for (std::size_t i = 0; i < in.size(); ++i) {
      const auto value = std::to_integer<std::uint8_t>(in[i]);
      if (offset + i == kIndexPort) {
        index_ = value & kIndexMask;
        continue;
      }
      const bool was_pending = chip_.interrupt_pending();
      chip_.write(index_, value, now_ns());
      raise = !was_pending && chip_.interrupt_pending();
      arm();
    }
  }
  if (raise) interrupt_.raise();
}

Result<void> Rtc::quiesce() {
  const std::lock_guard lock{mutex_};
  if (quiesced_) return {};
  frozen_ns_ = now_ns();
  const bool was_pending = chip_.interrupt_pending();
  chip_.advance(frozen_ns_);
  raise_due_ = raise_due_ || (!was_pending && chip_.interrupt_pending());
  quiesced_ = true;
  arm();
  return {};
}

void Rtc::resume() {
  bool raise = false;
  {
    const std::lock_guard lock{mutex_};
    if (!quiesced_) return;
    const Instant now = loop_.clock().now();
    if (!started_) {
      // A fresh guest begins with the host's time. A restored one goes on from its own, as its TSC and kvmclock do.
      if (!restored_) chip_.restore(chip_.registers(), host_wall_(), frozen_ns_);
      started_at_ = now - Duration{frozen_ns_};
      started_ = true;
    }
    quiesced_ = false;
    // An edge that was on its way when the state was saved is in nobody's state: send it again.
    raise = chip_.interrupt_pending() && (raise_due_ || restored_);
    raise_due_ = restored_ = false;
    arm();
  }
  watch_.arm();
  if (raise) interrupt_.raise();
}

void Rtc::save(schema::DeviceState::Builder out) const {
  const std::lock_guard lock{mutex_};
  US_CHECK(quiesced_);
  out.setId(id_);
  out.setVersion(kStateVersion);
  auto state = out.getState().initAs<schema::RtcState>();
  state.setWallNs(chip_.wall_ns(frozen_ns_));
  state.setIndex(index_);
  state.setRegisters(kj::arrayPtr(chip_.registers().data(), chip_.registers().size()));
}

Result<Rtc::State> Rtc::parse(schema::DeviceState::Reader in) const {
  return parse_saved_state(in, id_, kStateVersion, [&]() -> Result<State> {
    const auto saved = in.getState().getAs<schema::RtcState>();
    State state{.wall_ns = saved.getWallNs(), .index = saved.getIndex(), .registers = {}};
    const auto registers = saved.getRegisters();
    if (registers.size() != state.registers.size())
      return Error{ErrorCode::kCorrupt,
                   "it has " + std::to_string(registers.size()) + " registers; the chip " + std::to_string(state.registers.size())};
    if (state.wall_ns < Mc146818::kEarliestNs || state.wall_ns > Mc146818::kLatestNs || state.index > kIndexMask)
      return Error{ErrorCode::kCorrupt, "its time of " + std::to_string(state.wall_ns) + " ns or its index of " +
                                            std::to_string(state.index) + " is none that the chip can have"};
    std::ranges::copy(registers, state.registers.begin());
    return state;
  });
}

Result<void> Rtc::check(schema::DeviceState::Reader in) const {
  US_TRY(parse(in));
  return {};
}

Result<void> Rtc::restore(schema::DeviceState::Reader in) {
  US_ASSIGN(const State state, parse(in));
  const std::lock_guard lock{mutex_};
  US_CHECK(quiesced_ && !started_);
  chip_.restore(state.registers, state.wall_ns, frozen_ns_);
  index_ = state.index;
  restored_ = true;
  return {};
}

}  // namespace understudy
