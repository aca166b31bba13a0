// The daemon's one TOML file, read whole and checked before anything starts. An error names the file, the line and what was expected.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "failover/daemon/probe_config.h"
#include "failover/daemon/restart_policy.h"
#include "failover/daemon/security.h"
#include "failover/daemon/timing.h"
#include "failover/etcd_store.h"
#include "net/base/addresses.h"
#include "net/base/clock.h"
#include "net/base/ids.h"
#include "net/base/result.h"
#include "replication/epoch_pacer.h"
#include "vmm/boot/boot_protocol.h"

namespace understudy {

struct DiskConfig {
  std::string id;  // 1 to 20 letters, digits, '-' or '_'; equal on both nodes
  std::filesystem::path image;
  bool read_only = false;
};

struct LinkConfig {
  std::string bind;  // ZeroMQ endpoints: where this node listens, and where its peer does. Node a's connection serves both ways.
  std::string peer;
};

struct DaemonConfig {
  struct Pair {
    std::string name;  // 1 to 64 characters; its hash is the PairId
    PairId id;
    NodeId node = NodeId::kA;
    bool initial_primary = false;   // matters only for a pair that never ran
    std::optional<NodeId> home{};   // where the guest belongs; equal on both nodes
    bool alone = false;             // a first start need not find the peer
    bool ack_when_durable = false;  // durability "disk": as secondary, this node acks what is on its stable storage; else "memory"
    std::uint64_t fold_bytes_per_second = 0;  // to the durable cut's store; 0: as many as it takes
  } pair;
  struct Vm {
    std::filesystem::path kernel;
    std::optional<std::filesystem::path> initrd;
    std::string cmdline;
    std::optional<BootProtocol> boot_protocol;  // nullopt: what suits the kernel's file
    bool virtio_on_cmdline = true;              // names the virtio devices to a kernel without ACPI
    std::uint64_t memory_bytes = 0;
    unsigned vcpus = 1;
    std::string cpu_model = "host";   // one of cpu_model_names()
    std::uint64_t balloon_bytes = 0;  // a fresh guest is asked to give back so much; less than memory_bytes
    RestartConfig restart;
  } vm;
  struct Net {
    std::string tap;
    MacAddress mac{};
    std::optional<Ipv4Address> guest_ip;  // announced after a takeover; without it a RARP frame names the MAC alone
    std::string service_nic;              // the NIC whose health counts; on which the guest is reached
  } net;
  std::vector<DiskConfig> disks;
  LinkConfig replication;
  std::uint64_t transfer_bytes_per_second = 0;  // of a full transfer or resync; 0: as fast as it goes
  std::uint64_t scrub_pages_per_second = 256;   // guest memory compared with the peer's image all the time; 0: never by itself
  LinkConfig heartbeat;
  std::string witness;             // ZeroMQ endpoint; empty: etcd is the arbiter
  std::optional<EtcdConfig> etcd;  // instead of a witness
  bool manual = false;             // no third place: operators grant
  SecurityConfig security;
  ControlConfig control;
  struct Fencing {
    std::vector<std::string> agent;                    // command and arguments; empty: nobody is switched off
    std::vector<std::string> options;                  // "key=value", for its standard input
    std::optional<std::filesystem::path> shared_disk;  // for the poison pill, instead of an agent or before it
    bool required = false;                             // a takeover waits until the other host is off
    Duration timeout = std::chrono::seconds{60};
    std::optional<Duration> self_fence_after;
  } fencing;
  struct WatchdogDevice {
    std::filesystem::path device;
    std::chrono::seconds timeout{10};
  };
  std::optional<WatchdogDevice> watchdog;
  std::filesystem::path state_dir;
  std::filesystem::path socket;
  Timing timing;
  PacingConfig pacing;  // its longest epoch is timing's
  ProbesConfig probes;
  struct Log {
    std::optional<std::filesystem::path> file;  // without: standard error
    std::string level = "info";
  } log;
};

// `name` stands in the errors. kInvalid: "node-a.toml:12: [timing] epoch_ms: expected a whole number from 1 to 10000, found a string".
Result<DaemonConfig> parse_config(std::string_view text, std::string_view name);
// Reads the node's key file, too.
Result<DaemonConfig> load_config(const std::filesystem::path& path);

// The PairId that a pair's name stands for: equal wherever the name is.
PairId pair_id_of(std::string_view name);

}  // namespace understudy
