#include "tests/guest/service.h"

#include "tests/guest/report.h"

namespace understudy::guest {

Service::Service(const Options& options, CpuBlock& cpu, NetDevice* net, std::uint32_t net_gsi, KvService& kv, LogWriter& log)
    : options_{options},
      cpu_{cpu},
      net_{net},
      vector_{VECTOR_DEVICES + net_gsi},
      kv_{kv},
      log_{log},
      stack_{net != nullptr ? net->mac() : MacAddress{}, options.ip, kKvPort, options.mode == Mode::kKv ? &kv : nullptr} {}

bool Service::serve_frames() {
  if (net_ == nullptr) return false;
  if (cpu_.vector_counts[vector_] != acknowledged_) {
    acknowledged_ = cpu_.vector_counts[vector_];
    net_->acknowledge_interrupt();
  }
  bool worked = false;
  while (kv_.mutation_count() < KvService::kMaxMutations) {
    const auto answer = net_->transmit_buffer();
    if (!answer) break;  // the device holds every buffer: requests wait in the receive ring
    const auto frame = net_->received();
    if (!frame) break;
    worked = true;
    ++published().frames_received;
    if (const std::size_t bytes = stack_.answer(*frame, *answer); bytes != 0) {
      net_->send(bytes);
      ++published().frames_sent;
    }
    net_->release_received();
  }
  if (!worked) return false;
  if (options_.log) log_mutations();
  kv_.take_mutations();
  published().kv_sequence = kv_.sequence();
  published().kv_checksum = kv_.state_checksum();
  net_->flush();
  return true;
}

void Service::log_mutations() {
  if (!log_.started()) return;  // log=1 is for kv
  for (std::size_t i = 0; i < kv_.mutation_count(); ++i) {
    const KvMutation& m = kv_.mutation(i);
    const std::uint64_t payload[] = {m.request.client, m.request.id, m.request.operation, m.request.key,
                                     m.value,          m.sequence,   m.state_checksum};
    log_.append(payload);
  }
  log_.commit();
}

std::uint64_t Service::write_log() {
  if (options_.mode != Mode::kBlockLog) return kForever;
  const std::uint64_t tsc_khz = published().tsc_khz;
  const std::uint64_t now = read_tsc();
  const std::uint64_t period = options_.records_per_second == 0 ? 0 : tsc_khz * 1'000 * options_.burst / options_.records_per_second;
  if (now - last_burst_ < period) return (period - (now - last_burst_)) * 1'000 / (tsc_khz / 1'000);
  last_burst_ = now;
  for (std::uint64_t i = 0; i < options_.burst; ++i) {
    const std::uint64_t payload[] = {log_.last() + 1, ~(log_.last() + 1)};
    log_.append(payload);
  }
  log_.commit();
  log_.read_back();
  return 0;
}

}  // namespace understudy::guest
