#include "vmm/devices/power/power.h"

#include <utility>

#include "vmm/devices/power/state.capnp.h"
#include "vmm/devices/saved_state.h"

namespace understudy {
namespace {

// Of the status only the button is ever set. The other enable bits (timer, global lock, sleep button, clock) are kept, since drivers read
// them back; nothing raises them.
constexpr std::uint16_t kStatusMask = Power::kButton;
constexpr std::uint16_t kEnableMask = 1 << 0 | 1 << 5 | Power::kButton | 1 << 9 | 1 << 10;
constexpr std::uint16_t kControlMask = 1 << 1 | Power::kSleepTypeMask;  // bus master reload, sleep type

std::uint16_t with_byte(std::uint16_t word, bool high, std::uint8_t value) {
  return static_cast<std::uint16_t>(high ? (word & 0x00FF) | value << 8 : (word & 0xFF00) | value);
}

}  // namespace

Power::Power(std::string id, InterruptLine interrupt) : id_{std::move(id)}, interrupt_{std::move(interrupt)} {}

bool Power::press_button() {
  bool raise = false;
  bool heard = false;
  {
    const std::lock_guard lock{mutex_};
    registers_.status |= kButton;
    heard = (registers_.enable & kButton) != 0;
    raise = heard && !quiesced_;
  }
  if (raise) interrupt_.raise();
  return heard;
}

void Power::read(std::uint64_t offset, MutableBytes out) {
  const std::lock_guard lock{mutex_};
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<std::byte>(read_register(offset + i));
}

void Power::write(std::uint64_t offset, ConstBytes in) {
  bool raise = false;
  {
    const std::lock_guard lock{mutex_};
    for (std::size_t i = 0; i < in.size(); ++i) write_register(offset + i, std::to_integer<std::uint8_t>(in[i]));
    // The line is an edge: what is still pending after the guest touched the registers is told again.
    raise = registers_.interrupt_pending();
  }
  if (raise) interrupt_.raise();
}

std::uint8_t Power::read_register(std::uint64_t offset) const {
  const auto& r = registers_;
  const std::uint16_t words[] = {r.status, r.enable, static_cast<std::uint16_t>(r.control | kSciEnabled)};
  return static_cast<std::uint8_t>(offset < kPortCount ? words[offset / 2] >> offset % 2 * 8 : 0xFF);
}

void Power::write_register(std::uint64_t offset, std::uint8_t value) {
  auto& r = registers_;
  const bool high = offset % 2 != 0;
  switch (offset / 2) {
    case 0:  // a one clears
      r.status &= static_cast<std::uint16_t>(~with_byte(0, high, value));
      return;
    case 1:
      r.enable = with_byte(r.enable, high, value) & kEnableMask;
      return;
    case 2:
      r.control = with_byte(r.control, high, value) & kControlMask;
      return;
    default:
      return;
  }
}

Result<void> Power::quiesce() {
  const std::lock_guard lock{mutex_};
  quiesced_ = true;
  return {};
}

void Power::resume() {
  bool raise = false;
  {
    const std::lock_guard lock{mutex_};
    quiesced_ = false;
    raise = registers_.interrupt_pending();
  }
  // An edge that was on its way when the state was saved is in nobody's state: send it again.
  if (raise) interrupt_.raise();
}

void Power::save(schema::DeviceState::Builder out) const {
  const std::lock_guard lock{mutex_};
  out.setId(id_);
  out.setVersion(kStateVersion);
  auto state = out.getState().initAs<schema::PowerState>();
  state.setStatus(registers_.status);
  state.setEnable(registers_.enable);
  state.setControl(registers_.control);
}

Result<Power::Registers> Power::parse(schema::DeviceState::Reader in, std::string_view id) {
  return parse_saved_state(in, id, kStateVersion, [&]() -> Result<Registers> {
    const auto state = in.getState().getAs<schema::PowerState>();
    const Registers registers{state.getStatus(), state.getEnable(), state.getControl()};
    if ((registers.status & ~kStatusMask) != 0 || (registers.enable & ~kEnableMask) != 0 || (registers.control & ~kControlMask) != 0)
      return Error{ErrorCode::kCorrupt, "it has register bits that this hardware does not"};
    return registers;
  });
}

Result<void> Power::check(schema::DeviceState::Reader in) const {
  US_TRY(parse(in, id_));
  return {};
}

Result<void> Power::restore(schema::DeviceState::Reader in) {
  US_ASSIGN(const Registers registers, parse(in, id_));
  const std::lock_guard lock{mutex_};
  US_CHECK(quiesced_);
  registers_ = registers;
  return {};
}

}  // namespace understudy
