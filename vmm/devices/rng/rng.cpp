#include "vmm/devices/rng/rng.h"

#include <cerrno>
#include <utility>

#include <linux/virtio_ids.h>
#include <sys/random.h>

#include "vmm/devices/rng/state.capnp.h"
#include "vmm/devices/saved_state.h"

namespace understudy {
namespace {

constexpr unsigned kRngQueues = 1;
// So that a busy queue does not keep the loop from its other work.
constexpr unsigned kRequestsPerTurn = 64;
// When the host has no entropy yet.
constexpr Duration kRetry = std::chrono::milliseconds{100};

}  // namespace

std::size_t host_entropy(MutableBytes out) {
  while (true) {
    const auto got = ::getrandom(out.data(), out.size(), GRND_NONBLOCK);
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno != EINTR) return 0;  // EAGAIN: the host's pool is not ready (getrandom(2))
  }
}

Result<std::unique_ptr<Rng>> Rng::create(VirtioSlot slot, EntropySource source, EntropyLimits limits) {
  if (limits.bytes_per_interval == 0 || limits.interval <= Duration{0})
    return Error{ErrorCode::kInvalid, "device " + slot.id + ": an entropy limit of " + std::to_string(limits.bytes_per_interval) +
                                          " bytes in " + std::to_string(limits.interval.count()) + " ns; give both, not zero"};
  US_ASSIGN(auto host, make_host(kRngQueues));
  return std::unique_ptr<Rng>{new Rng{std::move(slot), std::move(host), std::move(source), limits}};
}

Rng::Rng(VirtioSlot slot, Host host, EntropySource source, EntropyLimits limits)
    : VirtioMmio{std::move(slot), std::move(host), {.device_type = VIRTIO_ID_RNG, .features = 0, .config_space = {}}},
      source_{std::move(source)},
      allowance_{limits} {}

void Rng::work(unsigned) {
  Virtqueue& ring = queue(0);
  ring.disable_notifications();
  unsigned budget = kRequestsPerTurn;
  for (; budget > 0; --budget) {
    const Pop popped = ring.pop(chain_);
    if (popped == Pop::kBroken) {
      fail("request queue", ring.error());
      break;
    }
    if (popped == Pop::kEmpty) {
      if (ring.enable_notifications()) continue;
      break;
    }
    // 5.4.6.1: buffers are for the device to write, and hold at least a byte.
    if (chain_.readable_count > 0 || chain_.writable_bytes == 0) {
      fail("request queue", "a buffer that the device may not write, or of no bytes");
      break;
    }
    const std::size_t allowed = std::min(allowance_.at(loop().clock().now()), kMaxAnswerBytes);
    const std::uint32_t written = fill(chain_, allowed);
    if (written == 0) {
      ring.unpop(1);
      come_back_at(allowed == 0 ? allowance_.refill_at() : loop().clock().now() + kRetry);
      break;
    }
    ring.push(chain_.head, written);
  }
  publish(0);
  if (budget == 0) work_again(0);
}

// Writes up to `allowed` random bytes into the chain; returns how many.
std::uint32_t Rng::fill(const Chain& chain, std::size_t allowed) {
  std::size_t written = 0;
  for (const Segment& segment : chain.writable()) {
    const std::size_t wanted = std::min<std::size_t>(segment.length, allowed - written);
    if (wanted == 0) continue;
    const std::size_t got = source_(memory().at(segment.address, wanted)->first(wanted));
    US_CHECK(got <= wanted);
    memory().mark_written(segment.address, got);
    written += got;
    if (got < wanted) break;
  }
  allowance_.spend(written);
  return static_cast<std::uint32_t>(written);
}

void Rng::come_back_at(Instant when) {
  if (timer_ != 0) return;
  timer_ = loop().call_at(when, [this] {
    timer_ = 0;
    Turn turn{*this};
    if (turn && runs(0)) work(0);
  });
}

void Rng::on_quiesce() {
  // Resuming looks at the queue anyway.
  loop().cancel(std::exchange(timer_, 0));
}

void Rng::save(schema::DeviceState::Builder out) const {
  out.setId(std::string{id()});
  out.setVersion(kStateVersion);
  save_transport(out.getState().initAs<schema::RngState>().initTransport());
}

Result<VirtioMmio::TransportState> Rng::parse(schema::DeviceState::Reader in) const {
  return parse_saved_state(in, id(), kStateVersion, [&]() -> Result<TransportState> {
    return parse_transport(in.getState().getAs<schema::RngState>().getTransport());
  });
}

Result<void> Rng::check(schema::DeviceState::Reader in) const {
  US_TRY(parse(in));
  return {};
}

Result<void> Rng::restore(schema::DeviceState::Reader in) {
  US_ASSIGN(const TransportState state, parse(in));
  restore_transport(state);
  return {};
}

}  // namespace understudy
