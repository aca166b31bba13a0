// `understudyd witness`: the witness as a process.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "failover/witness_store.h"
#include "net/base/clock.h"
#include "net/base/result.h"

namespace understudy {

struct WitnessOptions {
  std::string listen;  // ZeroMQ endpoint
  std::filesystem::path store;
  WitnessStore::Open open = WitnessStore::Open::kExisting;
  std::filesystem::path key_file;  // the witness's secret key
  std::vector<std::string>
      allowed;            // public keys of nodes; an element "@FILE" names a file with one a line, "#" and a space begin a remark
  bool insecure = false;  // anybody may talk to it
};

class WitnessDaemon {
 public:
  virtual ~WitnessDaemon() = default;
};

// Serves until the result is destroyed. kInvalid when it is neither given keys nor told to be insecure; else the keys' and the store's
// errors.
Result<std::unique_ptr<WitnessDaemon>> start_witness(const WitnessOptions& options, const Clock& clock);

}  // namespace understudy
