#include "replication/messages.h"

#include <algorithm>
#include <string>
#include <utility>

#include "net/payload.h"
#include "replication/replication.capnp.h"

namespace understudy {
namespace {

// Far above what a real machine has, and small enough that a crafted message costs nothing.
constexpr unsigned kMaxRegions = 64;
constexpr unsigned kMaxFeatureWords = 4096;
constexpr unsigned kMaxDevices = 256;
constexpr unsigned kMaxDisks = 64;
constexpr std::size_t kMaxTextBytes = 4096;

std::string bounded(capnp::Text::Reader text) { return {text.cStr(), std::min(text.size(), kMaxTextBytes)}; }

Result<void> check_count(const char* name, unsigned count, unsigned most) {
  if (count <= most) return {};
  return Error{ErrorCode::kCorrupt, std::to_string(count) + " " + name + "; at most " + std::to_string(most) + " are taken"};
}

Result<MachineFingerprint> read_fingerprint(schema::Hello::Fingerprint::Reader in) {
  US_TRY(check_count("memory regions", in.getRegions().size(), kMaxRegions));
  US_TRY(check_count("CPU feature words", in.getCpuFeatureWords().size(), kMaxFeatureWords));
  US_TRY(check_count("devices", in.getDeviceIds().size(), kMaxDevices));
  MachineFingerprint out;
  for (const auto region : in.getRegions())
    out.layout.regions.push_back(
        {GuestPhysicalAddress{region.getStart()}, PageIndex{region.getFirstPage()}, static_cast<std::size_t>(region.getPageCount())});
  out.vcpu_count = in.getVcpuCount();
  out.tsc_khz = in.getTscKhz();
  out.tsc_scalable = in.getTscScalable();
  out.xsave_bytes = in.getXsaveBytes();
  for (const std::uint32_t word : in.getCpuFeatureWords()) out.cpu_feature_words.push_back(word);
  for (const auto id : in.getDeviceIds()) out.device_ids.push_back(bounded(id));
  return out;
}

}  // namespace

std::vector<std::byte> to_bytes(const Hello& message) {
  return build_payload<schema::Hello>([&](schema::Hello::Builder out) {
    out.setProtocolVersion(message.protocol_version);
    out.setExpectedPeer(message.expected_peer.raw());
    const MachineFingerprint& from = message.fingerprint;
    auto fingerprint = out.initFingerprint();
    auto regions = fingerprint.initRegions(static_cast<unsigned>(from.layout.regions.size()));
    for (unsigned i = 0; i < regions.size(); ++i) {
      regions[i].setStart(from.layout.regions[i].start.raw());
      regions[i].setFirstPage(from.layout.regions[i].first_page.raw());
      regions[i].setPageCount(from.layout.regions[i].page_count);
    }
    fingerprint.setVcpuCount(from.vcpu_count);
    fingerprint.setTscKhz(from.tsc_khz);
    fingerprint.setTscScalable(from.tsc_scalable);
    fingerprint.setXsaveBytes(from.xsave_bytes);
    fingerprint.setCpuFeatureWords(kj::arrayPtr(from.cpu_feature_words.data(), from.cpu_feature_words.size()));
    auto devices = fingerprint.initDeviceIds(static_cast<unsigned>(from.device_ids.size()));
    for (unsigned i = 0; i < devices.size(); ++i) devices.set(i, from.device_ids[i]);
    auto disks = out.initDisks(static_cast<unsigned>(message.disks.size()));
    for (unsigned i = 0; i < disks.size(); ++i) {
      disks[i].setBytes(message.disks[i].bytes);
      disks[i].setReadOnly(message.disks[i].read_only);
    }
  });
}

std::vector<std::byte> to_bytes(const Welcome& message) {
  return build_payload<schema::Welcome>([&](schema::Welcome::Builder out) {
    out.setImageWhole(message.image_whole);
    out.setCommittedTerm(message.committed_term.raw());
    out.setCommittedEpoch(message.committed_epoch.raw());
    out.setOverwrittenBy(message.overwritten_by.raw());
  });
}

std::vector<std::byte> to_bytes(const Refuse& message) {
  return build_payload<schema::Refuse>([&](schema::Refuse::Builder out) {
    out.setPromise(message.promise.raw());
    out.setReason(message.reason.substr(0, kMaxTextBytes));
  });
}

std::vector<std::byte> to_bytes(const Begin& message) {
  return build_payload<schema::Begin>([&](schema::Begin::Builder out) {
    out.setFull(message.full);
    out.setBase(message.base.raw());
    out.setResync(message.resync);
  });
}

std::vector<std::byte> to_bytes(const Ack& message) {
  return build_payload<schema::Ack>([&](schema::Ack::Builder out) { out.setCommittedTerm(message.committed_term.raw()); });
}

std::vector<std::byte> to_bytes(const Progress& message) {
  return build_payload<schema::Progress>([&](schema::Progress::Builder out) { out.setParts(message.parts); });
}

std::vector<std::byte> to_bytes(const Reject& message) {
  return build_payload<schema::Reject>([&](schema::Reject::Builder out) { out.setReason(message.reason.substr(0, kMaxTextBytes)); });
}

std::vector<std::byte> to_bytes(const RaiseTerm& message) {
  return build_payload<schema::RaiseTerm>([&](schema::RaiseTerm::Builder out) { out.setPrevious(message.previous.raw()); });
}

std::vector<std::byte> to_bytes(const CheckPages& message) {
  return build_payload<schema::CheckPages>([&](schema::CheckPages::Builder out) {
    out.setFirst(message.pages.first.raw());
    out.setHashes(kj::arrayPtr(message.pages.hashes.data(), message.pages.hashes.size()));
    out.setStateHash(message.state_hash);
  });
}

std::vector<std::byte> to_bytes(const Checked& message) {
  return build_payload<schema::Checked>([&](schema::Checked::Builder out) {
    out.setFirst(message.first.raw());
    out.setCount(message.count);
    auto differing = out.initDiffering(static_cast<unsigned>(message.differing.size()));
    for (unsigned i = 0; i < differing.size(); ++i) differing.set(i, message.differing[i].raw());
    out.setStateDiffers(message.state_differs);
  });
}

template <>
Result<Hello> from_bytes<Hello>(std::span<const std::byte> payload) {
  auto hello = read_payload<schema::Hello>(payload, [](schema::Hello::Reader in) -> Result<Hello> {
    if (in.getProtocolVersion() != kReplicationVersion)
      return Error{ErrorCode::kUnsupportedVersion, "replication protocol version " + std::to_string(in.getProtocolVersion()) +
                                                       "; this release speaks version " + std::to_string(kReplicationVersion) +
                                                       ": run the same release on both hosts"};
    Hello out;
    out.expected_peer = Incarnation{in.getExpectedPeer()};
    US_ASSIGN(out.fingerprint, read_fingerprint(in.getFingerprint()));
    US_TRY(check_count("disks", in.getDisks().size(), kMaxDisks));
    for (const auto disk : in.getDisks()) out.disks.push_back({disk.getBytes(), disk.getReadOnly()});
    return out;
  });
  if (!hello) return std::move(hello.error()).within("hello");
  return hello;
}

template <>
Result<Welcome> from_bytes<Welcome>(std::span<const std::byte> payload) {
  return read_payload<schema::Welcome>(payload, [](schema::Welcome::Reader in) {
    return Welcome{in.getImageWhole(), Term{in.getCommittedTerm()}, Epoch{in.getCommittedEpoch()}, Incarnation{in.getOverwrittenBy()}};
  });
}

template <>
Result<Refuse> from_bytes<Refuse>(std::span<const std::byte> payload) {
  return read_payload<schema::Refuse>(payload, [](schema::Refuse::Reader in) {
    return Refuse{Term{in.getPromise()}, bounded(in.getReason())};
  });
}

template <>
Result<Begin> from_bytes<Begin>(std::span<const std::byte> payload) {
  return read_payload<schema::Begin>(payload, [](schema::Begin::Reader in) {
    return Begin{in.getFull(), Epoch{in.getBase()}, in.getResync()};
  });
}

template <>
Result<Ack> from_bytes<Ack>(std::span<const std::byte> payload) {
  return read_payload<schema::Ack>(payload, [](schema::Ack::Reader in) { return Ack{Term{in.getCommittedTerm()}}; });
}

template <>
Result<Progress> from_bytes<Progress>(std::span<const std::byte> payload) {
  return read_payload<schema::Progress>(payload, [](schema::Progress::Reader in) { return Progress{in.getParts()}; });
}

template <>
Result<Reject> from_bytes<Reject>(std::span<const std::byte> payload) {
  return read_payload<schema::Reject>(payload, [](schema::Reject::Reader in) { return Reject{bounded(in.getReason())}; });
}

template <>
Result<RaiseTerm> from_bytes<RaiseTerm>(std::span<const std::byte> payload) {
  return read_payload<schema::RaiseTerm>(payload, [](schema::RaiseTerm::Reader in) { return RaiseTerm{Term{in.getPrevious()}}; });
}

template <>
Result<CheckPages> from_bytes<CheckPages>(std::span<const std::byte> payload) {
  return read_payload<schema::CheckPages>(payload, [](schema::CheckPages::Reader in) -> Result<CheckPages> {
    US_TRY(check_count("pages to compare", in.getHashes().size(), kMaxCheckedPages));
    CheckPages out{.pages = {.first = PageIndex{in.getFirst()}, .hashes = {}}, .state_hash = in.getStateHash()};
    for (const std::uint64_t hash : in.getHashes()) out.pages.hashes.push_back(hash);
    return out;
  });
}

template <>
Result<Checked> from_bytes<Checked>(std::span<const std::byte> payload) {
  return read_payload<schema::Checked>(payload, [](schema::Checked::Reader in) -> Result<Checked> {
    US_TRY(check_count("pages that differ", in.getDiffering().size(), kMaxCheckedPages));
    Checked out{.first = PageIndex{in.getFirst()}, .count = in.getCount(), .differing = {}, .state_differs = in.getStateDiffers()};
    for (const std::uint64_t page : in.getDiffering()) out.differing.emplace_back(page);
    return out;
  });
}

}  // namespace understudy
