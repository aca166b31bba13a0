// The arbiter of the lab's pair: a witness or an etcd, as a process on the machine `witness`, which can be killed and come back; or none:
// then the lab's operator grants.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "net/base/clock.h"
#include "net/base/ids.h"
#include "net/base/result.h"
#include "net/refusals.h"
#include "tests/lab/child.h"

namespace understudy::lab {

enum class ArbiterKind { kWitness, kEtcd, kManual };
std::vector<std::string> arbiter_names();
// Those that are a process.
std::vector<std::string> arbiter_process_names();
std::optional<ArbiterKind> arbiter_of(std::string_view name);

class LabArbiter {
 public:
  struct Options {
    ArbiterKind kind = ArbiterKind::kWitness;
    std::filesystem::path programs;  // holds understudyd
    std::filesystem::path folder;    // for its data and log
    unsigned slowness = 1;
    // Of a witness: the file of its secret key, and whom it admits.
    std::filesystem::path key{};
    std::vector<std::string> admitted{};
  };
  // The table of a node's configuration that names it.
  static std::string configuration(const Options& options);
  static constexpr const char* kWitnessEndpoint = "tcp://10.77.2.3:7003";
  // Starts it with a new store. `node_config`: a node's whole configuration, by which an etcd is set up from host-a.
  static Result<std::unique_ptr<LabArbiter>> start(const Clock& clock, Options options, std::filesystem::path node_config);

  // SIGKILL; restart() brings it back with the store that it left.
  void kill();
  Result<void> restart();
  // What it has on record, as an operator on host-a is told.
  Result<std::string> show() const;
  // Whether it takes a seed of that term, which it must not: its words.
  Result<std::string> try_seed(Term term) const;
  // Of a witness: the connections that it refused, as its log tells.
  Refusals refusals() const;
  // kUnavailable when its process ended by itself.
  Result<void> check_alive() const;
  // nullptr where there is none.
  Child* process() const { return process_.get(); }
  ArbiterKind kind() const { return options_.kind; }

 private:
  LabArbiter(const Clock& clock, Options options, std::filesystem::path node_config)
      : clock_{clock}, options_{std::move(options)}, node_config_{std::move(node_config)} {}
  Result<void> launch(bool first);
  // `understudyd arbiter ...` on host-a, again until it succeeds.
  Result<std::string> steer(const std::vector<std::string>& words) const;

  const Clock& clock_;
  const Options options_;
  const std::filesystem::path node_config_;
  std::unique_ptr<Child> process_;
  bool killed_ = false;
};

}  // namespace understudy::lab
