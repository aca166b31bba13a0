// A pair as the lab runs it: two nodes and their arbiter as real processes on the lab's machines, with their configurations, disks and
// logs in one folder.
#pragma once

#include <array>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "failover/daemon/timing.h"
#include "net/base/addresses.h"
#include "net/base/clock.h"
#include "net/base/ids.h"
#include "net/base/result.h"
#include "tests/lab/child.h"
#include "tests/lab/fault.h"
#include "tests/lab/guest_service.h"
#include "tests/lab/intruder.h"
#include "tests/lab/lab_arbiter.h"
#include "tests/lab/lab_keys.h"
#include "tests/lab/lab_storage.h"
#include "tests/lab/machines.h"
#include "tests/lab/node_status.h"

namespace understudy::lab {

inline constexpr MacAddress kGuestMac{{0x52, 0x54, 0x00, 0x77, 0x00, 0x10}};
inline constexpr Ipv4Address kGuestIp{{10, 77, 0, 10}};
inline constexpr Ipv4Address kClientIp{{10, 77, 0, 2}};

class LabPair {
 public:
  struct Options {
    std::filesystem::path programs;  // holds understudyd and understudy
    std::filesystem::path folder;    // empty; for everything that the pair writes
    GuestImage guest;
    ArbiterKind arbiter = ArbiterKind::kWitness;
    unsigned vcpus = 2;
    // This folder of that host's lies on storage that fails on command.
    AilingFolder ailing = AilingFolder::kNone;
    NodeId ailing_host = NodeId::kA;
    // A guest that ends is a checkpoint that was torn, unless it was told to: it is not to hide behind a reboot.
    bool reboot_on_reset = false;
    bool reboot_on_crash = false;
    Timing timing;
    // `timing` and the deadlines of `status` and `command` are multiplied by it: for a machine that is so many times slower than
    // the usual ones.
    unsigned slowness = 1;
  };
  // Writes configurations and two equal disks, and starts arbiter and nodes, host-a as primary.
  static Result<std::unique_ptr<LabPair>> start(const Clock& clock, Options options);

  // kUnavailable when a process of the pair ended: the error holds its last log lines. `struck`: that node is expected to be gone.
  Result<void> check_alive(std::optional<NodeId> struck = std::nullopt) const;
  Result<NodeStatus> status(NodeId node, Duration deadline = std::chrono::seconds{2}) const;
  // An operator's command to that node's daemon; the error holds its refusal.
  Result<void> command(NodeId node, std::vector<std::string> words, Duration deadline) const;
  // What the node's flight recorder keeps of what it saw and did, oldest first. An error where the recorder can't be read.
  Result<std::vector<NodeEvent>> events(NodeId node) const;
  // `understudy verify` at the node that runs the guest: what it said. An error where the other node's image is not the same.
  Result<std::string> verify(NodeId node, Duration deadline) const;
  // The committed epochs that it keeps, of this number and above, oldest first.
  Result<std::vector<NodeEpoch>> epochs(NodeId node, Epoch from) const;
  // The node's recorded decisions done again by `understudy explain --replay`: what it said. An error where they came out otherwise.
  Result<std::string> replay(NodeId node) const;
  // Until host-a says that the pair is protected.
  Result<NodeStatus> wait_until_protected(Duration deadline) const;

  // Where somebody listens: host-a for host-b, and a witness for both.
  std::vector<Port> ports() const;
  const LabKeys& keys() const { return keys_; }
  LabArbiter& arbiter() { return *arbiter_; }
  Child& node(NodeId id) { return *nodes_[static_cast<std::size_t>(id)]; }
  // Of a pair with an ailing folder.
  LabStorage& ailing() { return *ailing_; }
  // Adds a line to what stands for the host's kernel log.
  Result<void> say_in_kernel_log(NodeId id, const std::string& message) const;
  // As it is, whatever ails the storage on which its host sees it.
  std::filesystem::path disk(NodeId id) const { return beneath(disk_folder(id), AilingFolder::kDisk, id) / "disk.img"; }
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
  Result<std::unique_ptr<Child>> start_daemon(NodeId id) const;
  Result<std::string> ask(NodeId node, std::vector<std::string> words, Duration deadline) const;
  bool ails(AilingFolder folder, NodeId id) const { return options_.ailing == folder && options_.ailing_host == id; }
  std::filesystem::path of_host(NodeId id, const char* suffix) const;
  // What lies on the host's storage: disk and canary, and the daemon's state, with its log and program where they ail along with it.
  std::filesystem::path disk_folder(NodeId id) const { return of_host(id, "-disk"); }
  std::filesystem::path state_folder(NodeId id) const { return of_host(id, "-state"); }
  std::filesystem::path beneath(const std::filesystem::path& path, AilingFolder folder, NodeId id) const {
    return ails(folder, id) ? LabStorage::beneath(path) : path;
  }
  std::filesystem::path log_file(NodeId id) const;
  // What stands for the host's /dev/kmsg and /proc/pressure/memory.
  std::filesystem::path kernel_log(NodeId id) const { return of_host(id, ".kmsg"); }
  std::filesystem::path memory_pressure(NodeId id) const { return of_host(id, ".pressure"); }

  const Clock& clock_;
  const Options options_;
  LabKeys keys_;
  std::unique_ptr<LabArbiter> arbiter_;
  std::array<std::unique_ptr<Child>, 2> nodes_;
  // Goes before the nodes: one that hangs on it can't end.
  std::unique_ptr<LabStorage> ailing_;
};

}  // namespace understudy::lab
