// What the lab's guest is and serves: how a pair must be set up for it, who asks, and who judges. The demo strikes; everything that depends
// on the kind of guest is behind this interface.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "net/base/clock.h"
#include "net/base/result.h"
#include "tests/guest/kv_protocol.h"

namespace understudy::lab {

class LabPair;
class WireTap;
struct Outcome;

// What both hosts boot.
struct GuestImage {
  std::filesystem::path kernel;
  std::filesystem::path initrd;  // empty: none
  std::string command_line;
  unsigned memory_mib = 64;
  std::filesystem::path disk;     // both disks start as copies of it; empty: as zeros
  std::uintmax_t disk_bytes = 0;  // of a disk of zeros
};

class GuestService {
 public:
  virtual ~GuestService() = default;

  // kNotFound says what to build.
  virtual Result<GuestImage> image() const = 0;
  // The guest was started: waits until it serves, for at most `deadline`, and lets the clients ask. kUnavailable, kTimeout: it does not.
  virtual Result<void> start(const LabPair& pair, Duration deadline) = 0;
  // Requests answered so far.
  virtual std::uint64_t acknowledged() const = 0;
  // Has the guest end itself, now that something was answered. kRefused: this guest can't be told.
  virtual Result<void> end_guest(guest::GuestEnd how) = 0;
  // The clients read back what they wrote and stop; whatever is not answered within `deadline` stays unanswered.
  virtual void finish(Duration deadline) = 0;
  // After finish(), with the pair settled and the tap stopped: fills in what clients, wire and disk tell, and may end the guest. An error:
  // it could not be judged.
  virtual Result<void> judge(const LabPair& pair, const WireTap& wire, Outcome& outcome) = 0;
};

}  // namespace understudy::lab
