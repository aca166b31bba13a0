// Everything vCPU 0 serves: frames, the key-value service with its log, and the block log by itself.
#pragma once

#include <cstdint>

#include "tests/guest/cpu.h"
#include "tests/guest/ip_stack.h"
#include "tests/guest/kv_service.h"
#include "tests/guest/log_writer.h"
#include "tests/guest/net_device.h"
#include "tests/guest/options.h"

namespace understudy::guest {

inline constexpr std::uint64_t kForever = UINT64_MAX;

class Service {
 public:
  // All outlive this. `net`: started, nullptr without a network; `log`: started if the options want it.
  Service(const Options& options, CpuBlock& cpu, NetDevice* net, std::uint32_t net_gsi, KvService& kv, LogWriter& log);

  // Answers what has arrived. A reply leaves after the log holds what it says. True: something was done.
  bool serve_frames();
  // Asks for the interrupts that serve_frames() needs. True: there is work already.
  bool ask_interrupts() { return net_ != nullptr && net_->ask_interrupts(); }
  // mode=blklog: one burst, when it is due; returns the nanoseconds until the next.
  std::uint64_t write_log();

 private:
  void log_mutations();

  const Options& options_;
  CpuBlock& cpu_;
  NetDevice* const net_;
  const std::uint32_t vector_;
  KvService& kv_;
  LogWriter& log_;
  const IpStack stack_;
  std::uint64_t acknowledged_ = 0;
  std::uint64_t last_burst_ = 0;
};

}  // namespace understudy::guest
