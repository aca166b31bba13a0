# A whole machine but for its memory, as it crosses from one host to the other. Fields are only appended.
#
# KVM's own structures travel as they are (Data of sizeof(struct)): their layout is the kernel's ABI, which never changes, and both hosts run
# x86-64 Linux. vmm/machine_state.cpp is the only place that reads or writes this.
@0xd3a1c7f05e6b9248;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("understudy::schema");
using Device = import "/vmm/devices/device.capnp";

struct MachineState {
  magic @0 :UInt64;
  version @1 :UInt16;
  fingerprint @2 :Fingerprint;    # of the machine that saved
  cpuid @3 :List(CpuidLeaf);      # vCPU 0's, as it was set; APIC ids follow from the index
  vcpus @4 :List(VcpuState);      # by index
  interrupts @5 :InterruptControllers;
  clock @6 :ClockState;
  devices @7 :List(Device.DeviceState);
}

struct Fingerprint {
  layout @0 :List(MemoryRegion);
  vcpuCount @1 :UInt32;
  tscKhz @2 :UInt64;
  xsaveBytes @3 :UInt64;
  cpuFeatureWords @4 :List(UInt32);
  deviceIds @5 :List(Text);
}

struct MemoryRegion {
  start @0 :UInt64;
  firstPage @1 :UInt64;
  pageCount @2 :UInt64;
}

struct CpuidLeaf {
  function @0 :UInt32;
  index @1 :UInt32;
  flags @2 :UInt32;
  eax @3 :UInt32;
  ebx @4 :UInt32;
  ecx @5 :UInt32;
  edx @6 :UInt32;
}

struct Msr {
  index @0 :UInt32;
  value @1 :UInt64;
}

struct VcpuState {
  mpState @0 :UInt32;             # KVM_MP_STATE_*
  regs @1 :Data;                  # kvm_regs
  sregs @2 :Data;                 # kvm_sregs2
  xsave @3 :Data;                 # KVM_GET_XSAVE2
  xcrs @4 :Data;                  # kvm_xcrs
  debugRegs @5 :Data;             # kvm_debugregs
  lapic @6 :Data;                 # kvm_lapic_state
  events @7 :Data;                # kvm_vcpu_events
  msrs @8 :List(Msr);             # in the order of restoring; without the TSC and its deadline
  tscDelta @9 :UInt64;            # this vCPU's TSC less vCPU 0's, modulo 2^64
  hasTscDeadline @10 :Bool;
  tscDeadline @11 :UInt64;        # in this vCPU's TSC; 0: not armed
}

struct InterruptControllers {
  picMaster @0 :Data;             # kvm_irqchip.chip
  picSlave @1 :Data;
  ioapic @2 :Data;
  pit @3 :Data;                   # kvm_pit_state2
}

struct ClockState {
  guestTsc @0 :UInt64;            # vCPU 0's
  kvmclockNs @1 :UInt64;
  hostTsc @2 :UInt64;
  guestTscKhz @3 :UInt64;
}
