// The contract of every device. Nothing has a default, so forgetting a step is a compile error.
//
// Threading: read() and write() come from vCPU threads, quiesce() to restore() from the machine's controlling thread, everything else runs
// on the machine's device loop; a device guards its registers with a lock of its own that it never holds across a system call that can
// block.
#pragma once

#include <cstdint>
#include <string_view>

#include "net/base/result.h"
#include "vmm/backend.h"
#include "vmm/devices/device.capnp.h"

namespace understudy {

class Device {
 public:
  virtual ~Device() = default;
  virtual std::string_view id() const = 0;  // stable: keys the state section

  // Register access at `offset` into the device's window, 1, 2, 4 or 8 bytes. Whatever the guest does here, the device survives it.
  virtual void read(std::uint64_t offset, MutableBytes out) = 0;
  virtual void write(std::uint64_t offset, ConstBytes in) = 0;

  // Stops the device's hands on guest memory and rings; requests in flight stay in flight. Idempotent; no ring moves after it.
  virtual Result<void> quiesce() = 0;
  // Goes on after quiesce() or restore(): every queue counts as kicked.
  virtual void resume() = 0;

  // While quiesced: everything that a twin on another host needs, queue positions and requests in flight included.
  virtual void save(schema::DeviceState::Builder out) const = 0;
  // Whether restore() would accept it; changes nothing. The secondary asks before it acks an epoch.
  virtual Result<void> check(schema::DeviceState::Reader in) const = 0;
  // On a device that has not run: takes the state, re-issues requests in flight on resume(), raises its interrupt.
  // (Not a static constructor: the secondary's machine is built and warm before its state arrives.)
  virtual Result<void> restore(schema::DeviceState::Reader in) = 0;
};

}  // namespace understudy
