// A whole checkpoint of a guest host, held by the test, and the host that goes on from it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/kvm/guest_host.h"

namespace understudy::test {

struct GuestCheckpoint {
  std::vector<std::byte> state;   // Machine::save()
  std::vector<std::byte> memory;  // all of it
  std::vector<std::byte> disk;    // as the checkpoint's other side has it; empty: none
  std::size_t disk_requests = 0;  // in flight at the checkpoint
  std::size_t frames_sent = 0;    // of the frames that the network holds back: those sent before the checkpoint
};

// Pauses, captures, resumes. Throws what failed.
GuestCheckpoint take_checkpoint(GuestHost& host);

// A machine on another host, restored and not yet running.
std::unique_ptr<GuestHost> restore_checkpoint(const GuestHostConfig& config, const GuestCheckpoint& checkpoint);

// Where two saved states differ, in words; empty: nowhere but in what time moves by itself (TSC, timer counts, the PIT's load times).
std::string difference_of_states(std::span<const std::byte> left, std::span<const std::byte> right);

}  // namespace understudy::test
