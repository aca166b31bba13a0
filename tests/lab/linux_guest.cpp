#include "tests/lab/linux_guest.h"

#include <thread>
#include <vector>

#include <fmt/format.h>

#include "tests/lab/disk_files.h"
#include "tests/lab/kernel_log.h"
#include "tests/lab/lab_pair.h"
#include "tests/lab/outcome.h"
#include "tests/lab/redis_history.h"
#include "tests/lab/tcp_streams.h"
#include "tests/lab/wire_tap.h"

namespace understudy::lab {

namespace {

constexpr const char* kPage = "/srv/www/page";
constexpr const char* kAppendOnlyFile = "/var/lib/redis/appendonlydir/appendonly.aof.1.incr.aof";
constexpr Duration kAnswerDeadline = std::chrono::seconds{5};
constexpr Duration kPowerOffDeadline = std::chrono::seconds{120};
constexpr Duration kPatience = std::chrono::milliseconds{100};

// `quiet` and `loglevel`: each character of the console is an exit. `reboot=p`: a machine without ACPI ends by a reset, and this one is
// short.
constexpr const char* kCommandLine = "console=ttyS0 quiet root=/dev/vda ro init=/init reboot=p panic=-1 guest_ip={}/24";

}  // namespace

Result<GuestImage> LinuxGuest::image() const {
  GuestImage image;
  image.kernel = options_.files / "vmlinux";
  image.disk = options_.files / "root.img";
  for (const auto& file : {image.kernel, image.disk}) {
    if (!std::filesystem::exists(file))
      return Error{ErrorCode::kNotFound,
                   fmt::format("{} is missing: run tests/guest/linux/build --into {}", file.string(), options_.files.string())};
  }
  if (std::filesystem::exists(options_.files / "initrd")) image.initrd = options_.files / "initrd";
  image.command_line = fmt::format(kCommandLine, kGuestIp.text()) + (options_.words.empty() ? "" : " " + options_.words);
  image.memory_mib = 128;
  return image;
}

Result<void> LinuxGuest::order(const std::string& word, Duration deadline) const {
  const auto answer = ask_redis(clock_, kClientMachine, kGuestIp, resp_command({"RPUSH", "lab:order", word}), deadline);
  if (!answer) return answer.error();
  if (answer->kind != RespValue::Kind::kInteger)
    return Error{ErrorCode::kFailed, "order '" + word + "' was answered " + answer->describe()};
  return {};
}

Result<void> LinuxGuest::start(const LabPair& pair, Duration deadline) {
  US_ASSIGN(std::string page, read_disk_file(clock_, pair.disk(NodeId::kA), kPage));
  const Instant give_up_at = clock_.now() + deadline;
  while (true) {
    US_TRY(pair.check_alive());
    // What comes after the mark in the kernel's log has to do with the run, and not with the boot.
    auto marked = order("mark", kAnswerDeadline * options_.slowness);
    if (marked) break;
    if (clock_.now() >= give_up_at) return std::move(marked.error()).within("wait for the guest's Redis");
    std::this_thread::sleep_for(kPatience);
  }
  const RedisWorkload::Options pace{.pace = RedisWorkload::Options{}.pace * options_.slowness};
  US_ASSIGN(redis_, RedisClient::start(clock_, kClientMachine, kGuestIp, pace, kAnswerDeadline * options_.slowness));
  HttpClient::Options fetching{.page = std::move(page)};
  fetching.pace *= options_.slowness;
  fetching.patience *= options_.slowness;
  web_ = HttpClient::start(clock_, kClientMachine, kGuestIp, std::move(fetching));
  return {};
}

// Its judges follow one boot: one connection, one kernel's log.
Result<void> LinuxGuest::end_guest(guest::GuestEnd) {
  return Error{ErrorCode::kRefused, "a Linux guest is not ended in the middle of a run"};
}

void LinuxGuest::finish(Duration deadline) {
  web_->finish();
  redis_->finish(deadline);
}

// Until the daemon says that the guest ended.
Result<void> LinuxGuest::power_off(const LabPair& pair, NodeId host) const {
  const Duration deadline = kPowerOffDeadline * options_.slowness;
  const Instant give_up_at = clock_.now() + deadline;
  US_TRY(order("poweroff", kAnswerDeadline * options_.slowness));
  while (pair.log(host).find("guest ended") == std::string::npos) {
    if (clock_.now() >= give_up_at)
      return Error{ErrorCode::kTimeout, fmt::format("it did not end within {:.0f} s", to_ms(deadline) / 1000)};
    std::this_thread::sleep_for(kPatience);
  }
  return {};
}

Result<void> LinuxGuest::judge(const LabPair& pair, const WireTap& wire, Outcome& outcome) {
  const auto& workload = redis_->workload();
  outcome.unanswered = workload.unanswered();
  outcome.history = judge_redis(workload.exchanges());
  const TcpStreams streams{wire.frames()};
  outcome.speakers = judge_speakers(wire.frames(), [&](const GuestFrame& frame) { return frame.tcp && streams.repeats(*frame.tcp); });
  std::vector<Instant> acknowledgements;
  for (const auto& exchange : workload.exchanges()) acknowledgements.push_back(exchange.answered_at);
  summarize_replies(outcome, acknowledgements, redis_->reading_back_since());

  LinuxFindings& findings = outcome.linux_guest.emplace();
  findings.connection_ended = redis_->connection_ended();
  count_pages(findings, web_->fetches(), outcome.fault_at);
  const auto last = survivor(outcome);
  if (!last) {
    findings.no_power_off = "no one host runs it";
    return {};
  }
  if (auto off = power_off(pair, *last); !off) {
    findings.no_power_off = off.error().text();
    return {};
  }
  findings.kernel_log = read_kernel_log(pair.log(*last));
  US_ASSIGN(findings.file_system, check_file_system(clock_, pair.disk(*last)));
  US_ASSIGN(const auto file, read_disk_file(clock_, pair.disk(*last), kAppendOnlyFile));
  const auto disk = judge_append_only_file(file, workload.exchanges());
  outcome.log_records_checked = disk.checked;
  outcome.log_records_missing = disk.missing;
  return {};
}

}  // namespace understudy::lab
