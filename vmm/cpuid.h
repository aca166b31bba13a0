// The CPUID that the guest sees: what KVM supports, less what a machine could not carry to another host. Pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <linux/kvm.h>

#include "vmm/cpu_features.h"

namespace understudy {

using CpuidTable = std::vector<kvm_cpuid_entry2>;

// From KVM_GET_SUPPORTED_CPUID to the table for a vCPU of `vcpu_count`: takes out what has state that KVM does not give up (asynchronous
// page faults, nested virtualization, performance counters, AMX), and features that rest on hypercalls; sets the "runs under a hypervisor"
// bit, the local TSC-deadline timer if KVM has one (`tsc_deadline`), and APIC ids and topology: one socket, a core per vCPU.
CpuidTable guest_cpuid(CpuidTable supported, unsigned vcpu, unsigned vcpu_count, bool tsc_deadline);

// The same table for another vCPU of the same machine: only APIC ids differ.
void set_apic_id(CpuidTable& table, unsigned vcpu);

// The feature words that decide whether a guest can move: see kCpuFeatureWords. Bits that mirror a register's state are left out.
std::vector<std::uint32_t> feature_words(const CpuidTable& table);

// Leaves that differ, for the log: "00000001.0 ecx 81202000 became fffa3203, ...". Empty when equal, but for what KVM keeps up to date
// by itself, such as the present size of the XSAVE area.
std::string difference(const CpuidTable& wanted, const CpuidTable& got);

}  // namespace understudy
