#include "vmm/machine_state.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>
#include <kj/exception.h>
#include <kj/io.h>

#include "vmm/fingerprint.h"

namespace understudy {
namespace {

template <class T>
capnp::Data::Reader blob(const T& value) {
  return {reinterpret_cast<const capnp::byte*>(&value), sizeof value};
}

template <class Builder>
void write_fingerprint(const MachineFingerprint& fingerprint, Builder out) {
  auto layout = out.initLayout(static_cast<unsigned>(fingerprint.layout.regions.size()));
  for (unsigned i = 0; i < layout.size(); ++i) {
    layout[i].setStart(fingerprint.layout.regions[i].start.raw());
    layout[i].setFirstPage(fingerprint.layout.regions[i].first_page.raw());
    layout[i].setPageCount(fingerprint.layout.regions[i].page_count);
  }
  out.setVcpuCount(fingerprint.vcpu_count);
  out.setTscKhz(fingerprint.tsc_khz);
  out.setXsaveBytes(fingerprint.xsave_bytes);
  auto words = out.initCpuFeatureWords(static_cast<unsigned>(fingerprint.cpu_feature_words.size()));
  for (unsigned i = 0; i < words.size(); ++i) words.set(i, fingerprint.cpu_feature_words[i]);
  auto ids = out.initDeviceIds(static_cast<unsigned>(fingerprint.device_ids.size()));
  for (unsigned i = 0; i < ids.size(); ++i) ids.set(i, fingerprint.device_ids[i]);
}

void write_cpuid(const CpuidTable& table, capnp::List<schema::CpuidLeaf>::Builder out) {
  for (unsigned i = 0; i < out.size(); ++i) {
    const auto& entry = table[i];
    auto leaf = out[i];
    leaf.setFunction(entry.function);
    leaf.setIndex(entry.index);
    leaf.setFlags(entry.flags);
    leaf.setEax(entry.eax);
    leaf.setEbx(entry.ebx);
    leaf.setEcx(entry.ecx);
    leaf.setEdx(entry.edx);
  }
}

void write_vcpu(const VcpuState& vcpu, std::uint64_t tsc_delta, schema::VcpuState::Builder out) {
  out.setMpState(vcpu.mp_state.mp_state);
  out.setRegs(blob(vcpu.regs));
  out.setSregs(blob(vcpu.sregs));
  out.setXsave({reinterpret_cast<const capnp::byte*>(vcpu.xsave.data()), vcpu.xsave.size()});
  out.setXcrs(blob(vcpu.xcrs));
  out.setDebugRegs(blob(vcpu.debug_regs));
  out.setLapic(blob(vcpu.lapic));
  out.setEvents(blob(vcpu.events));
  auto msrs = out.initMsrs(static_cast<unsigned>(vcpu.msrs.size()));
  for (unsigned i = 0; i < msrs.size(); ++i) {
    msrs[i].setIndex(vcpu.msrs[i].index);
    msrs[i].setValue(vcpu.msrs[i].data);
  }
  out.setTscDelta(tsc_delta);
  out.setHasTscDeadline(vcpu.has_tsc_deadline);
  out.setTscDeadline(vcpu.tsc_deadline);
}

void write_state(const MachineState& state, schema::MachineState::Builder out) {
  out.setMagic(kMachineStateMagic);
  out.setVersion(kMachineStateVersion);
  write_fingerprint(state.fingerprint, out.initFingerprint());
  write_cpuid(state.cpuid, out.initCpuid(static_cast<unsigned>(state.cpuid.size())));
  auto vcpus = out.initVcpus(static_cast<unsigned>(state.vcpus.size()));
  for (unsigned i = 0; i < vcpus.size(); ++i) write_vcpu(state.vcpus[i], state.vcpus[i].tsc_offset - state.vcpus[0].tsc_offset, vcpus[i]);
  auto interrupts = out.initInterrupts();
  interrupts.setPicMaster(blob(state.interrupts.pic_master.chip));
  interrupts.setPicSlave(blob(state.interrupts.pic_slave.chip));
  interrupts.setIoapic(blob(state.interrupts.ioapic.chip));
  interrupts.setPit(blob(state.interrupts.pit));
  auto clock = out.initClock();
  clock.setGuestTsc(state.clock.guest_tsc);
  clock.setKvmclockNs(state.clock.kvmclock_ns);
  clock.setHostTsc(state.clock.host_tsc);
  clock.setGuestTscKhz(state.clock.guest_tsc_khz);
}

Error corrupt(std::string text) { return Error{ErrorCode::kCorrupt, "machine state: " + std::move(text)}; }

// Cap'n Proto's message is many lines; its description is the sentence.
Error corrupt(const kj::Exception& exception) { return corrupt(std::string{exception.getDescription().cStr()}); }

template <class T>
Result<void> read_blob(capnp::Data::Reader in, T& value, const char* name) {
  if (in.size() != sizeof value) return corrupt(fmt::format("{} has {} bytes, {} are expected", name, in.size(), sizeof value));
  std::memcpy(&value, in.begin(), sizeof value);
  return {};
}

MachineFingerprint read_fingerprint(schema::Fingerprint::Reader in) {
  MachineFingerprint fingerprint;
  for (const auto region : in.getLayout())
    fingerprint.layout.regions.push_back(
        {GuestPhysicalAddress{region.getStart()}, PageIndex{region.getFirstPage()}, region.getPageCount()});
  fingerprint.vcpu_count = in.getVcpuCount();
  fingerprint.tsc_khz = in.getTscKhz();
  fingerprint.xsave_bytes = in.getXsaveBytes();
  for (const std::uint32_t word : in.getCpuFeatureWords()) fingerprint.cpu_feature_words.push_back(word);
  for (const auto id : in.getDeviceIds()) fingerprint.device_ids.emplace_back(id.cStr(), id.size());
  return fingerprint;
}

CpuidTable read_cpuid(capnp::List<schema::CpuidLeaf>::Reader in) {
  CpuidTable table;
  for (const auto leaf : in) {
    kvm_cpuid_entry2 entry{};
    entry.function = leaf.getFunction();
    entry.index = leaf.getIndex();
    entry.flags = leaf.getFlags();
    entry.eax = leaf.getEax();
    entry.ebx = leaf.getEbx();
    entry.ecx = leaf.getEcx();
    entry.edx = leaf.getEdx();
    table.push_back(entry);
  }
  return table;
}

Result<VcpuState> read_vcpu(schema::VcpuState::Reader in) {
  VcpuState vcpu;
  vcpu.mp_state.mp_state = in.getMpState();
  US_TRY(read_blob(in.getRegs(), vcpu.regs, "kvm_regs"));
  US_TRY(read_blob(in.getSregs(), vcpu.sregs, "kvm_sregs2"));
  const auto xsave = std::as_bytes(std::span{in.getXsave().begin(), in.getXsave().size()});
  vcpu.xsave.assign(xsave.begin(), xsave.end());
  US_TRY(read_blob(in.getXcrs(), vcpu.xcrs, "kvm_xcrs"));
  US_TRY(read_blob(in.getDebugRegs(), vcpu.debug_regs, "kvm_debugregs"));
  US_TRY(read_blob(in.getLapic(), vcpu.lapic, "kvm_lapic_state"));
  US_TRY(read_blob(in.getEvents(), vcpu.events, "kvm_vcpu_events"));
  for (const auto msr : in.getMsrs()) vcpu.msrs.push_back({.index = msr.getIndex(), .reserved = 0, .data = msr.getValue()});
  vcpu.tsc_offset = in.getTscDelta();
  vcpu.has_tsc_deadline = in.getHasTscDeadline();
  vcpu.tsc_deadline = in.getTscDeadline();
  return vcpu;
}

Result<MachineState> read_state(schema::MachineState::Reader in) {
  if (in.getMagic() != kMachineStateMagic) return corrupt("it is not one (wrong magic number)");
  if (in.getVersion() != kMachineStateVersion)
    return Error{ErrorCode::kUnsupportedVersion,
                 fmt::format("machine state: version {}, this program reads version {}", in.getVersion(), kMachineStateVersion)};
  MachineState state;
  state.fingerprint = read_fingerprint(in.getFingerprint());
  state.cpuid = read_cpuid(in.getCpuid());
  for (const auto vcpu : in.getVcpus()) {
    US_ASSIGN(auto decoded, read_vcpu(vcpu));
    state.vcpus.push_back(std::move(decoded));
  }
  const auto interrupts = in.getInterrupts();
  US_TRY(read_blob(interrupts.getPicMaster(), state.interrupts.pic_master.chip, "the master PIC"));
  US_TRY(read_blob(interrupts.getPicSlave(), state.interrupts.pic_slave.chip, "the slave PIC"));
  US_TRY(read_blob(interrupts.getIoapic(), state.interrupts.ioapic.chip, "the IOAPIC"));
  US_TRY(read_blob(interrupts.getPit(), state.interrupts.pit, "kvm_pit_state2"));
  const auto clock = in.getClock();
  state.clock.guest_tsc = clock.getGuestTsc();
  state.clock.kvmclock_ns = clock.getKvmclockNs();
  state.clock.host_tsc = clock.getHostTsc();
  state.clock.guest_tsc_khz = clock.getGuestTscKhz();
  return state;
}

Error refused(std::string text) { return Error{ErrorCode::kRefused, "machine state: " + std::move(text)}; }

Result<void> vcpu_fits(const VcpuState& vcpu, unsigned index, const VcpuAbilities& abilities) {
  if (vcpu.xsave.size() != abilities.xsave_bytes)
    return refused(fmt::format("vCPU {} has {} bytes of XSAVE area, this host's have {}", index, vcpu.xsave.size(), abilities.xsave_bytes));
  if (vcpu.has_tsc_deadline && !abilities.tsc_deadline)
    return refused(fmt::format("vCPU {} uses the TSC deadline timer, which this host's KVM does not have", index));
  for (const auto& msr : vcpu.msrs) {
    if (std::ranges::find(abilities.msrs, msr.index) == abilities.msrs.end())
      return refused(
          fmt::format("vCPU {} has MSR {:#x}, which this host's KVM does not; run the same kernel on both hosts", index, msr.index));
  }
  return {};
}

}  // namespace

Result<std::span<const std::byte>> MachineStateWriter::write(
    const MachineState& state, std::size_t device_count,
    const std::function<void(capnp::List<schema::DeviceState>::Builder)>& save_devices) {
  // The builder zeroes what it used of the scratch when it goes.
  capnp::MallocMessageBuilder message{kj::arrayPtr(scratch_.data(), scratch_.size())};
  auto root = message.initRoot<schema::MachineState>();
  write_state(state, root);
  save_devices(root.initDevices(static_cast<unsigned>(device_count)));
  const std::size_t size = capnp::computeSerializedSizeInWords(message) * sizeof(capnp::word);
  if (size > kMaxMachineStateBytes)
    return Error{ErrorCode::kFailed, fmt::format("machine state has {} bytes, {} are possible", size, kMaxMachineStateBytes)};
  bytes_.resize(size);
  kj::ArrayOutputStream stream{kj::arrayPtr(reinterpret_cast<kj::byte*>(bytes_.data()), bytes_.size())};
  capnp::writeMessage(stream, message);
  return std::span<const std::byte>{bytes_};
}

Result<DecodedMachineState> DecodedMachineState::decode(std::span<const std::byte> bytes) {
  if (bytes.size() > kMaxMachineStateBytes || bytes.size() % sizeof(capnp::word) != 0 || bytes.empty())
    return corrupt(fmt::format("{} bytes are not a whole number of words up to {} bytes", bytes.size(), kMaxMachineStateBytes));
  DecodedMachineState decoded;
  decoded.words_.resize(bytes.size() / sizeof(capnp::word));
  std::memcpy(decoded.words_.data(), bytes.data(), bytes.size());
  capnp::ReaderOptions options;
  options.traversalLimitInWords = 4 * (kMaxMachineStateBytes / sizeof(capnp::word));  // checked and then restored: more than one pass
  options.nestingLimit = 16;
  try {
    decoded.reader_ = std::make_unique<capnp::FlatArrayMessageReader>(kj::arrayPtr(decoded.words_.data(), decoded.words_.size()), options);
    US_ASSIGN(decoded.state_, read_state(decoded.reader_->getRoot<schema::MachineState>()));
  } catch (const kj::Exception& exception) {
    return corrupt(exception);
  }
  return decoded;
}

Result<void> DecodedMachineState::with_devices(const std::function<Result<void>(capnp::List<schema::DeviceState>::Reader)>& use) const {
  try {
    return use(reader_->getRoot<schema::MachineState>().getDevices());
  } catch (const kj::Exception& exception) {
    return corrupt(exception);
  }
}

Result<void> fits(const MachineState& state, const StateFit& machine) {
  if (auto same = compatible(state.fingerprint, machine.fingerprint); !same) return refused(same.error().text());
  if (state.vcpus.size() != machine.fingerprint.vcpu_count)
    return refused(fmt::format("it has {} vCPUs, this machine {}", state.vcpus.size(), machine.fingerprint.vcpu_count));
  for (unsigned i = 0; i < state.vcpus.size(); ++i) US_TRY(vcpu_fits(state.vcpus[i], i, machine.abilities));
  auto frequency = plan_frequency(state.clock, machine.tsc);
  if (!frequency) return refused(frequency.error().text());
  return {};
}

}  // namespace understudy
