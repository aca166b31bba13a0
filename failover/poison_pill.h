// The poison pill: a sector a node on a disk that both hosts reach, in which the other one says that it must stop, past every network.
//
// Layout, in sectors of 4096 bytes, each a sealed record of its own (magic, version, checksum), written past the page cache in one piece:
//   0  status of node a, written by a: its incarnation, the term of the latest pill that it took
//   1  status of node b
//   2  pill for node a, written by b: the incarnation that it is for, the term in which b was granted the guest
//   3  pill for node b
// A sector has one writer, so nothing is ever overwritten that another just wrote. Whoever may write to the disk may stop the guest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "failover/arbiter.h"
#include "net/base/clock.h"
#include "net/base/ids.h"
#include "net/base/result.h"
#include "net/base/unique_fd.h"

namespace understudy {

inline constexpr std::size_t kPillSectorBytes = 4096;

// Of either kind: whose it is (status) or for whom (pill), and which term.
struct PillRecord {
  PairId pair;
  Incarnation incarnation;
  Term term;
  friend bool operator==(const PillRecord&, const PillRecord&) = default;
};
std::vector<std::byte> encode_pill(const PillRecord& record);
// nullopt for a sector that was never written (all zero). kCorrupt; kUnsupportedVersion.
Result<std::optional<PillRecord>> decode_pill(std::span<const std::byte> sector);

// The disk. Any thread, one at a time; each call blocks for as long as the disk does.
class PillDisk {
 public:
  // `direct`: past the page cache (O_DIRECT), as on a disk that another host writes to; false: for a file system that can't.
  static Result<PillDisk> open(const std::filesystem::path& path, PairId pair, bool direct = true);

  Result<void> write_status(NodeId node, const PillRecord& record) { return write(sector_of(node, false), record); }
  Result<void> write_pill(NodeId victim, const PillRecord& record) { return write(sector_of(victim, true), record); }
  // nullopt: never written, or of another pair.
  Result<std::optional<PillRecord>> read_status(NodeId node) const { return read(sector_of(node, false)); }
  Result<std::optional<PillRecord>> read_pill(NodeId victim) const { return read(sector_of(victim, true)); }

 private:
  PillDisk(UniqueFd fd, PairId pair) : fd_{std::move(fd)}, pair_{pair} {}
  static std::uint64_t sector_of(NodeId node, bool pill) { return (pill ? 2U : 0U) + static_cast<std::uint64_t>(node); }
  Result<void> write(std::uint64_t sector, const PillRecord& record);
  Result<std::optional<PillRecord>> read(std::uint64_t sector) const;

  UniqueFd fd_;
  PairId pair_;
};

struct PillConfig {
  std::filesystem::path disk;
  PairId pair;
  NodeIncarnation self;
  Duration period = std::chrono::milliseconds{250};  // between two looks at this node's own sector
  bool direct = true;
};

// A thread that looks after this node's sectors. A stuck disk sticks that thread alone.
class PoisonPill {
 public:
  // `poisoned` is called on that thread, once for each pill of a term above the one before that is for this incarnation.
  static Result<std::unique_ptr<PoisonPill>> start(const PillConfig& config, const Clock& clock, std::function<void(Term)> poisoned);
  virtual ~PoisonPill() = default;
  // This node runs no guest of a term below `term` any more: written into its status, for the other one to read.
  virtual void taken(Term term) = 0;
  // Writes a pill for the other node, and waits for its status to say that it was taken, or that another process lives there. `done` is
  // called on the pill's thread, once; kTimeout after `patience`. A newer call ends an older one.
  virtual void poison(Term term, Duration patience, std::function<void(Result<std::string>)> done) = 0;
  // Since its own sector was last read right; any thread. A node that can't read its sector can't be stopped by it.
  virtual Duration since_read() const = 0;
};

}  // namespace understudy
