// `understudyd witness`: the witness as a process.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "failover/witness_store.h"
#include "net/base/clock.h"
#include "net/base/result.h"

namespace understudy {

struct WitnessOptions {
  std::string listen;  // ZeroMQ endpoint
  std::filesystem::path store;
  WitnessStore::Open open = WitnessStore::Open::kExisting;
};

class WitnessDaemon {
 public:
  virtual ~WitnessDaemon() = default;
};

// Serves until the result is destroyed.
Result<std::unique_ptr<WitnessDaemon>> start_witness(const WitnessOptions& options, const Clock& clock);

}  // namespace understudy
