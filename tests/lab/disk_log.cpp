#include "tests/lab/disk_log.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <utility>
#include <vector>

#include "tests/guest/block_log.h"

namespace understudy::lab {

namespace {

// Words of a record's payload, as the guest's key-value service writes them.
enum : std::size_t { kClient = 0, kId = 1, kOperation = 2, kKey = 3, kValue = 4, kSequence = 5, kChecksum = 6, kWords = 7 };

// The boot, and the service's sequence in it, which is not the log's.
using Execution = std::pair<std::uint32_t, std::uint64_t>;

bool says(const guest::BlockLogRecord& record, const AcknowledgedReply& acknowledged) {
  const auto& [request, reply, sent, received] = acknowledged;
  const auto& words = record.payload;
  return words[kClient] == request.client && words[kId] == request.id && words[kOperation] == request.operation &&
         words[kKey] == request.key && words[kValue] == reply.value && words[kChecksum] == reply.state_checksum;
}

}  // namespace

Result<DiskLogFindings> judge_disk_log(const std::filesystem::path& image, std::uint64_t slots,
                                       std::span<const AcknowledgedReply> replies) {
  std::ifstream file{image, std::ios::binary};
  if (!file) return Error::from_errno("read disk " + image.string());
  std::map<Execution, guest::BlockLogRecord> by_execution;
  for (std::uint64_t slot = 0; slot < slots; ++slot) {
    guest::BlockLogRecord record;
    if (!file.read(reinterpret_cast<char*>(&record), sizeof record))
      return Error{ErrorCode::kCorrupt, "read disk " + image.string() + ": it ends before slot " + std::to_string(slot)};
    if (guest::is_valid(record, slot, slots) && record.payload_words == kWords)
      by_execution.emplace(Execution{record.boot, record.payload[kSequence]}, record);
  }

  // The ring holds the newest changes; what it may have overwritten, with the records in flight, is not asked for.
  std::vector<std::uint32_t> boots;                       // in the order in which they were heard of
  std::map<Execution, const AcknowledgedReply*> changes;  // by place of the boot
  for (const auto& acknowledged : replies) {
    const auto boot = std::ranges::find(boots, acknowledged.reply.boot_count) - boots.begin();
    if (boot == std::ssize(boots)) boots.push_back(acknowledged.reply.boot_count);
    if (static_cast<guest::KvOperation>(acknowledged.request.operation) != guest::KvOperation::kGet)
      changes[{static_cast<std::uint32_t>(boot), acknowledged.reply.sequence}] = &acknowledged;
  }
  const std::uint64_t held = slots - std::min<std::uint64_t>(slots, guest::kLogMaxUnflushed);
  DiskLogFindings findings;
  for (auto change = changes.rbegin(); change != changes.rend() && findings.checked < held; ++change) {
    ++findings.checked;
    const auto record = by_execution.find({change->second->reply.boot_count, change->second->reply.sequence});
    if (record == by_execution.end() || !says(record->second, *change->second)) ++findings.missing;
  }
  return findings;
}

}  // namespace understudy::lab
