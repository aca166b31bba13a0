// A network between the three places that loses, delays, repeats, reorders and partitions, each direction by itself.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <utility>

#include "tests/sim/engine.h"

namespace understudy::sim {

enum class Place : std::uint8_t { kA, kB, kWitness };
inline constexpr std::size_t kPlaces = 3;

struct LinkQuality {
  bool cut = false;
  double loss = 0;
  double repeat = 0;
  Duration min_delay = ms(0.1);
  Duration max_delay = ms(0.4);
};

class Network {
 public:
  explicit Network(Engine& engine) : engine_{engine} {}

  LinkQuality& link(Place from, Place to) { return links_[static_cast<std::size_t>(from)][static_cast<std::size_t>(to)]; }
  void heal() { links_ = {}; }

  void send(Place from, Place to, std::function<void()> deliver) {
    const LinkQuality quality = link(from, to);
    if (quality.cut || engine_.random.chance(quality.loss)) return;
    const int copies = engine_.random.chance(quality.repeat) ? 2 : 1;
    for (int i = 0; i < copies; ++i)
      engine_.after(engine_.random.between(quality.min_delay, quality.max_delay), [this, from, to, deliver] {
        if (!link(from, to).cut) deliver();
      });
  }

  // As a connection does: in order, not repeated; lost only while it is cut, or (rarely) when it breaks.
  void stream(Place from, Place to, std::function<void()> deliver) {
    const LinkQuality quality = link(from, to);
    if (quality.cut || engine_.random.chance(quality.loss * 0.05)) return;
    Instant& last = last_[static_cast<std::size_t>(from)][static_cast<std::size_t>(to)];
    last = std::max(last, engine_.now() + engine_.random.between(quality.min_delay, quality.max_delay));
    engine_.after(last - engine_.now(), [this, from, to, deliver = std::move(deliver)] {
      if (!link(from, to).cut) deliver();
    });
  }

 private:
  Engine& engine_;
  std::array<std::array<LinkQuality, kPlaces>, kPlaces> links_{};
  std::array<std::array<Instant, kPlaces>, kPlaces> last_{};  // of a stream
};

}  // namespace understudy::sim
