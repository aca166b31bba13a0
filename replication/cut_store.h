// The secondary's durable cut: guest memory, machine state and disks at one committed epoch, such that the pair can start again from it
// after both hosts lost power.
//
// A cut is written in pieces, which change nothing of the one stored before, until commit() puts the new one in its place in one step. The
// disk writes between what the image holds and the cut are its journal: the guest's disk at the cut is the image with the journal over it.
//
// Threading: one thread at a time. Every call may block for as long as the disk does; daemons call it on a thread of its own.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/disk_write.h"
#include "net/base/ids.h"
#include "net/base/result.h"
#include "replication/epoch_store.h"

namespace understudy {

// Pages of guest memory as they are at the cut being written.
struct CutPages {
  std::vector<std::uint32_t> pages;
  std::vector<std::byte> contents{};        // of these, one after the other
  std::vector<std::uint32_t> zero_pages{};  // of zeros, none of `pages`
};

struct StoredCut {
  CommittedEpoch at;
  std::string ended{};             // not empty: the guest is over at its end, and how it ended
  std::vector<std::byte> state{};  // the machine's, for CheckpointTarget::restore()
  friend bool operator==(const StoredCut&, const StoredCut&) = default;
};

class CutStore {
 public:
  virtual ~CutStore() = default;

  // Pieces of the cut that commit() makes. Not synced. A page may come again: its newest copy counts. kFailed from the file system: then
  // all pieces since the last commit are gone, and the next call tries again with what is stored.
  virtual Result<void> put_pages(const CutPages& pages) = 0;
  // The writes of epochs up to `at`, in their order, after those that were put before.
  virtual Result<void> put_journal(CommittedEpoch at, std::span<const DiskWrite> writes) = 0;
  // All that was put since the last commit, and `cut`, are the stored cut, and on stable storage. After an error nothing is known but that
  // it is the old one or this one.
  virtual Result<void> commit(const StoredCut& cut) = 0;
  // The image holds everything up to `through`, on stable storage: that part of the journal goes.
  virtual Result<void> trim(CommittedEpoch through) = 0;
  // There is no cut any more, nor pieces of one; synced.
  virtual Result<void> forget() = 0;

  // nullopt: there is none. kCorrupt when what is stored fails its check.
  virtual Result<std::optional<StoredCut>> cut() const = 0;
  // The newest epoch that the image is known to hold whole, with nothing above it but what the journal has; (0, 0): none is known.
  virtual Result<CommittedEpoch> image_holds() const = 0;
  // The stored cut's pages that are not zeros, ascending.
  virtual Result<void> read_pages(const std::function<void(PageIndex, std::span<const std::byte, kPageSizeBytes>)>& visit) const = 0;
  // The stored cut's journal, in the order in which the writes are to be applied.
  virtual Result<void> read_journal(const std::function<void(DiskWrite)>& visit) const = 0;
};

}  // namespace understudy
