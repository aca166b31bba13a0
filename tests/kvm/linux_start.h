// The Linux guest of tests/guest/linux on a test's machine. It boots once: later starts go on from a checkpoint of it, kept beside its
// files.
#pragma once

#include <filesystem>
#include <memory>

#include "tests/kvm/guest_checkpoint.h"

namespace understudy::test {

// With a network and its root disk in memory, and a client in the guest that counts in Redis without a pause, so that the disk is never
// idle. Throws when its files are not there.
GuestHostConfig linux_config(unsigned vcpus);

// Up and running, services and load included. The checkpoint is made anew, by a boot, when there is none or when this machine refuses it
// (of another configuration, version or CPU); says on standard output which of the two it was. Throws what went wrong.
std::unique_ptr<GuestHost> start_linux(const GuestHostConfig& config);

// The checkpoint as files in `folder`, which appears whole or not at all; pages and sectors of zeros are holes. Throws what went wrong.
void store_checkpoint(const GuestCheckpoint& checkpoint, const std::filesystem::path& folder);
GuestCheckpoint load_checkpoint(const std::filesystem::path& folder);

// Types a line on the guest's console.
void type_line(Machine& machine, const std::string& line);

}  // namespace understudy::test
