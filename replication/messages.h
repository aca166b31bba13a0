// The messages of a replication session as plain data, and their bytes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/page_check.h"
#include "net/base/ids.h"
#include "net/base/result.h"
#include "net/codec.h"
#include "vmm/checkpoint_source.h"

namespace understudy {

inline constexpr std::uint16_t kReplicationVersion = 3;  // 2: extents of zeros beyond 8 MiB; 3: resync

namespace kind {
inline constexpr MessageKind kHello = 1;
inline constexpr MessageKind kWelcome = 2;
inline constexpr MessageKind kRefuse = 3;
inline constexpr MessageKind kBegin = 4;
inline constexpr MessageKind kPages = 5;
inline constexpr MessageKind kDiskWrites = 6;
inline constexpr MessageKind kManifest = 7;
inline constexpr MessageKind kAck = 8;
inline constexpr MessageKind kProgress = 9;
inline constexpr MessageKind kReject = 10;
inline constexpr MessageKind kRaiseTerm = 11;
inline constexpr MessageKind kCheckPages = 12;
inline constexpr MessageKind kChecked = 13;
// All that belongs to this layer.
inline constexpr MessageKind kFirstReplication = 1;
inline constexpr MessageKind kLastReplication = 31;
}  // namespace kind

inline constexpr bool is_replication(MessageKind message) {
  return message >= kind::kFirstReplication && message <= kind::kLastReplication;
}

// What must be equal of a disk on both nodes. A read-only one is never transferred: whoever made it put the same on both.
struct DiskShape {
  std::uint64_t bytes = 0;
  bool read_only = false;
  friend bool operator==(const DiskShape&, const DiskShape&) = default;
};

struct Hello {
  std::uint16_t protocol_version = kReplicationVersion;
  Incarnation expected_peer;
  MachineFingerprint fingerprint;
  std::vector<DiskShape> disks;
};
struct Welcome {
  bool image_whole = false;
  Term committed_term;
  Epoch committed_epoch;
  Incarnation overwritten_by{};
};
struct Refuse {
  Term promise;
  std::string reason;
};
struct Begin {
  bool full = false;
  Epoch base;
  bool resync = false;
};
struct Ack {
  Term committed_term;
};
struct Progress {
  std::uint64_t parts = 0;
};
struct Reject {
  std::string reason;
};
struct RaiseTerm {
  Term previous;
};
struct CheckPages {
  PageCheck pages;
  std::uint64_t state_hash = 0;
};
struct Checked {
  PageIndex first;
  std::uint32_t count = 0;
  std::vector<PageIndex> differing;
  bool state_differs = false;
};

std::vector<std::byte> to_bytes(const Hello& message);
std::vector<std::byte> to_bytes(const Welcome& message);
std::vector<std::byte> to_bytes(const Refuse& message);
std::vector<std::byte> to_bytes(const Begin& message);
std::vector<std::byte> to_bytes(const Ack& message);
std::vector<std::byte> to_bytes(const Progress& message);
std::vector<std::byte> to_bytes(const Reject& message);
std::vector<std::byte> to_bytes(const RaiseTerm& message);
std::vector<std::byte> to_bytes(const CheckPages& message);
std::vector<std::byte> to_bytes(const Checked& message);

// kCorrupt names what is wrong; a Hello of another version is kUnsupportedVersion with both. Untrusted input: lists and texts are bounded.
template <class T>
Result<T> from_bytes(std::span<const std::byte> payload);
template <>
Result<Hello> from_bytes<Hello>(std::span<const std::byte> payload);
template <>
Result<Welcome> from_bytes<Welcome>(std::span<const std::byte> payload);
template <>
Result<Refuse> from_bytes<Refuse>(std::span<const std::byte> payload);
template <>
Result<Begin> from_bytes<Begin>(std::span<const std::byte> payload);
template <>
Result<Ack> from_bytes<Ack>(std::span<const std::byte> payload);
template <>
Result<Progress> from_bytes<Progress>(std::span<const std::byte> payload);
template <>
Result<Reject> from_bytes<Reject>(std::span<const std::byte> payload);
template <>
Result<RaiseTerm> from_bytes<RaiseTerm>(std::span<const std::byte> payload);
template <>
Result<CheckPages> from_bytes<CheckPages>(std::span<const std::byte> payload);
template <>
Result<Checked> from_bytes<Checked>(std::span<const std::byte> payload);

}  // namespace understudy
