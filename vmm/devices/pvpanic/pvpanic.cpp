#include "vmm/devices/pvpanic/pvpanic.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "vmm/devices/pvpanic/state.capnp.h"
#include "vmm/devices/saved_state.h"

namespace understudy {

Pvpanic::Pvpanic(std::string id, Sink sink) : id_{std::move(id)}, sink_{std::move(sink)} {}

// "On read, the bits recognized by the device are set."
void Pvpanic::read(std::uint64_t, MutableBytes out) { std::ranges::fill(out, std::byte{kKnown}); }

// "On write, the bits not recognized by the device are ignored."
void Pvpanic::write(std::uint64_t, ConstBytes in) {
  for (const std::byte byte : in) {
    const auto bits = static_cast<std::uint8_t>(std::to_integer<std::uint8_t>(byte) & kKnown);
    if (bits == 0) continue;
    std::uint8_t news = 0;
    {
      const std::lock_guard lock{mutex_};
      news = static_cast<std::uint8_t>(bits & ~told_.bits);
      told_.bits |= bits;
      if (told_.notifications < std::numeric_limits<std::uint32_t>::max()) ++told_.notifications;
    }
    if (news != 0 && sink_) sink_(news);
  }
}

void Pvpanic::save(schema::DeviceState::Builder out) const {
  const std::lock_guard lock{mutex_};
  out.setId(id_);
  out.setVersion(kStateVersion);
  auto state = out.getState().initAs<schema::PvpanicState>();
  state.setTold(told_.bits);
  state.setNotifications(told_.notifications);
}

Result<Pvpanic::Told> Pvpanic::parse(schema::DeviceState::Reader in, std::string_view id) {
  return parse_saved_state(in, id, kStateVersion, [&]() -> Result<Told> {
    const auto state = in.getState().getAs<schema::PvpanicState>();
    if ((state.getTold() & ~kKnown) != 0) return Error{ErrorCode::kCorrupt, "it has bits that the device does not"};
    return Told{state.getTold(), state.getNotifications()};
  });
}

Result<void> Pvpanic::check(schema::DeviceState::Reader in) const {
  US_TRY(parse(in, id_));
  return {};
}

Result<void> Pvpanic::restore(schema::DeviceState::Reader in) {
  US_ASSIGN(const Told told, parse(in, id_));
  const std::lock_guard lock{mutex_};
  told_ = told;
  return {};
}

}  // namespace understudy
