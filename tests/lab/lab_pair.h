// A pair as the lab runs it: two nodes and their arbiter as real processes on the lab's machines, with their configurations, disks and
// logs in one folder.
#pragma once

#include <array>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "net/base/addresses.h"
#include "net/base/clock.h"
#include "net/base/ids.h"
#include "net/base/result.h"
#include "tests/lab/child.h"
#include "tests/lab/guest_service.h"
#include "tests/lab/intruder.h"
#include "tests/lab/lab_arbiter.h"
#include "tests/lab/lab_keys.h"
#include "tests/lab/node_status.h"

namespace understudy::lab {

inline constexpr MacAddress kGuestMac{{0x52, 0x54, 0x00, 0x77, 0x00, 0x10}};
inline constexpr Ipv4Address kGuestIp{{10, 77, 0, 10}};
inline constexpr Ipv4Address kClientIp{{10, 77, 0, 2}};

// The machines' names, which are also those of their network namespaces; the hosts' by NodeId.
inline const std::array<std::string, 2> kHosts{"host-a", "host-b"};
inline constexpr const char* kClientMachine = "client";

class LabPair {
 public:
  struct Options {
    std::filesystem::path programs;  // holds understudyd and understudy
    std::filesystem::path folder;    // empty; for everything that the pair writes
    GuestImage guest;
    ArbiterKind arbiter = ArbiterKind::kWitness;
    unsigned vcpus = 2;
    // A guest that ends is a checkpoint that was torn, unless it was told to: it is not to hide behind a reboot.
    bool reboot_on_reset = false;
    bool reboot_on_crash = false;
    // The daemons' timing and the deadlines of `status` and `command` are multiplied by it: for a machine that is so many times slower than
    // the usual ones.
    unsigned slowness = 1;
  };
  // Writes configurations and two equal disks, and starts arbiter and nodes, host-a as primary.
  static Result<std::unique_ptr<LabPair>> start(const Clock& clock, Options options);

  // kUnavailable when a process of the pair ended: the error holds its last log lines. `struck`: that node is expected to be gone.
  Result<void> check_alive(std::optional<NodeId> struck = std::nullopt) const;
  Result<NodeStatus> status(NodeId node, Duration deadline = std::chrono::seconds{2}) const;
  // An operator's command to that node's daemon; the error holds its refusal.
  Result<void> command(NodeId node, const std::string& command, Duration deadline) const;
  // The node's recorded decisions done again by `understudy explain --replay`: what it said. An error where they came out otherwise.
  Result<std::string> replay(NodeId node) const;
  // Until host-a says that the pair is protected.
  Result<NodeStatus> wait_until_protected(Duration deadline) const;

  // Where somebody listens: host-a for host-b, and a witness for both.
  std::vector<Port> ports() const;
  const LabKeys& keys() const { return keys_; }
  LabArbiter& arbiter() { return *arbiter_; }
  Child& node(NodeId id) { return *nodes_[static_cast<std::size_t>(id)]; }
  std::filesystem::path disk(NodeId id) const;
  // What stands for the host's /dev/kmsg and /proc/pressure/memory: a line that is added to the one is its kernel's word.
  std::filesystem::path kernel_log(NodeId id) const;
  std::filesystem::path memory_pressure(NodeId id) const;
  // What that node's daemon wrote so far.
  std::string log(NodeId id) const;
  // Everything that the three daemons wrote, with headings.
  std::string logs(std::size_t lines_each) const;

 private:
  LabPair(const Clock& clock, Options options) : clock_{clock}, options_{std::move(options)} {}
  Result<void> write_files() const;
  Result<void> make_disk(NodeId id) const;
  std::string configuration(NodeId id) const;
  LabArbiter::Options arbiter_options() const;
  Result<std::unique_ptr<Child>> start_daemon(const std::string& host, std::vector<std::string> arguments) const;

  const Clock& clock_;
  const Options options_;
  LabKeys keys_;
  std::unique_ptr<LabArbiter> arbiter_;
  std::array<std::unique_ptr<Child>, 2> nodes_;
};

}  // namespace understudy::lab
