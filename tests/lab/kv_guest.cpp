#include "tests/lab/kv_guest.h"

#include <cstring>
#include <map>
#include <utility>

#include <fmt/format.h>

#include "tests/lab/boots.h"
#include "tests/lab/disk_log.h"
#include "tests/lab/lab_pair.h"
#include "tests/lab/outcome.h"
#include "tests/lab/wire_tap.h"

namespace understudy::lab {

namespace {

constexpr std::uint64_t kLogSlots = 65'536;  // of a longer run the latest changes
constexpr std::uintmax_t kDiskBytes = std::uintmax_t{64} << 20;

}  // namespace

Result<GuestImage> KvGuest::image() const {
  GuestImage image;
  image.kernel = options_.programs / "understudy-test-guest.elf";
  if (!std::filesystem::exists(image.kernel))
    return Error{ErrorCode::kNotFound, fmt::format("{} is missing: run deploy/setup", image.kernel.string())};
  image.command_line = fmt::format("mode=kv ip={} {} log=1 log_sectors={}", kGuestIp.text(), options_.guest_options, kLogSlots);
  image.disk_bytes = kDiskBytes;
  return image;
}

// It serves from its first moment on: what is asked earlier is asked again.
Result<void> KvGuest::start(const LabPair&, Duration) {
  US_ASSIGN(client_, KvClient::start(clock_, kClientMachine, kGuestIp, {.pace = options_.pace}));
  return {};
}

Result<void> KvGuest::end_guest(guest::GuestEnd how) {
  client_->end_guest(how);
  return {};
}

Result<void> KvGuest::judge(const LabPair& pair, const WireTap& wire, Outcome& outcome) {
  const auto& workload = client_->workload();
  outcome.unanswered = workload.unanswered();
  outcome.history = starts_afresh(outcome.fault) ? judge_boots(workload.replies(), outcome.unanswered)
                                                 : judge_history(workload.replies(), outcome.unanswered);
  const auto execution = [](const guest::KvReply& reply) { return std::pair{reply.boot_count, reply.sequence}; };
  std::map<std::pair<std::uint32_t, std::uint64_t>, const guest::KvReply*> acknowledged;
  for (const auto& reply : workload.replies()) acknowledged.emplace(execution(reply.reply), &reply.reply);
  outcome.speakers = judge_speakers(wire.frames(), [&](const GuestFrame& frame) {
    const auto found = frame.reply ? acknowledged.find(execution(*frame.reply)) : acknowledged.end();
    return found != acknowledged.end() && std::memcmp(found->second, &*frame.reply, sizeof *frame.reply) == 0;
  });
  summarize_replies(outcome, acknowledgement_times(workload.replies()), client_->reading_back_since());
  if (const auto last = survivor(outcome)) {
    US_ASSIGN(const auto disk, judge_disk_log(pair.disk(*last), kLogSlots, workload.replies()));
    outcome.log_records_checked = disk.checked;
    outcome.log_records_missing = disk.missing;
  }
  return {};
}

}  // namespace understudy::lab
