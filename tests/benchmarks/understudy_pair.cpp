#include "tests/benchmarks/understudy_pair.h"

#include <csignal>
#include <fstream>
#include <thread>

#include <fmt/format.h>

#include "tests/lab/lab_pair.h"

namespace understudy::bench {

namespace {

constexpr Duration kProtectedDeadline = std::chrono::seconds{60};
constexpr Duration kLoadDeadline = std::chrono::seconds{90};
constexpr Duration kOrderDeadline = std::chrono::seconds{20};
constexpr Duration kTakeoverDeadline = std::chrono::seconds{20};
constexpr Duration kStatusEvery = std::chrono::milliseconds{20};
constexpr std::uint64_t kDiskBytes = std::uint64_t{16} << 20;
// Moments of a takeover.
constexpr const char* kDetected = "detected";
constexpr const char* kFirstInstruction = "first-instruction";
constexpr const char* kPrimarysPort = "a-rep:";  // the replication network's, towards host-a

class UnderstudyPair final : public ProtectedGuest {
 public:
  UnderstudyPair(const Clock& clock, UnderstudyOptions options) : clock_{clock}, options_{std::move(options)} {}

  Result<void> start(Duration interval) {
    lab::LabPair::Options pair{
        .programs = options_.programs,
        .folder = options_.folder,
        .guest = {.kernel = options_.kernel,
                  .initrd = options_.initrd,
                  .command_line = fmt::format("console=ttyS0 quiet reboot=p panic=-1 load=1 guest_ip={}{}{}", lab::kGuestIp.text(),
                                              options_.kernel_words.empty() ? "" : " ", options_.kernel_words),
                  .memory_mib = options_.memory_mib,
                  .disk = {},
                  .disk_bytes = kDiskBytes},
        .vcpus = options_.vcpus,
        .timing = {.epoch = interval / options_.slowness},  // which the lab stretches with all the others
        .slowness = options_.slowness};
    US_ASSIGN(pair_, lab::LabPair::start(clock_, std::move(pair)));
    US_TRY(pair_->wait_until_protected(kProtectedDeadline * options_.slowness));
    auto load = LoadView::find(clock_, pair_->node(NodeId::kA).pid(), options_.memory_mib, kLoadDeadline * options_.slowness);
    if (!load) return told(std::move(load.error()));
    load_ = std::move(*load);
    return {};
  }

  LoadView& load() override { return *load_; }

  Result<void> unprotect() override { return pair_->command(NodeId::kA, {"unprotect"}, kOrderDeadline); }

  Result<void> protect() override {
    US_TRY(pair_->command(NodeId::kA, {"protect"}, kOrderDeadline));
    US_TRY(pair_->wait_until_protected(kProtectedDeadline * options_.slowness));
    return {};
  }

  Result<void> begin_window() override {
    US_ASSIGN(const auto status, pair_->status(NodeId::kA));
    first_ = after(status.committed_epoch);
    US_ASSIGN(bytes_before_, bytes_sent());
    return {};
  }

  Result<EpochFigures> end_window() override {
    EpochFigures figures;
    US_ASSIGN(const double bytes, bytes_sent());
    figures.link_bytes = bytes - bytes_before_;
    US_ASSIGN(const auto epochs, pair_->epochs(NodeId::kA, first_));
    for (const lab::NodeEpoch& epoch : epochs) {
      figures.pauses_us.push_back(static_cast<double>(epoch.pause_us));
      figures.acks_us.push_back(static_cast<double>(epoch.ack_us));
    }
    auto alive = pair_->check_alive();
    if (!alive) return std::move(alive.error());
    return figures;
  }

  // By the secondary's own timeline: from its verdict on the silent primary.
  Result<double> kill_to_run_ms() override {
    pair_->node(NodeId::kA).signal(SIGKILL);
    const Instant give_up_at = clock_.now() + kTakeoverDeadline * options_.slowness;
    while (clock_.now() < give_up_at) {
      if (const auto status = pair_->status(NodeId::kB)) {
        std::optional<Instant> detected;
        for (const auto& moment : status->timeline) {
          if (moment.name == kDetected) detected = moment.at;
          if (moment.name == kFirstInstruction && detected) return to_ms(moment.at - *detected);
        }
      }
      std::this_thread::sleep_for(kStatusEvery);
    }
    return told(Error{ErrorCode::kTimeout, "the secondary did not take over after the primary's death"});
  }

 private:
  Error told(Error error) const { return std::move(error).within("the daemons' last words: " + pair_->logs(10)); }

  // All that the primary's host sent on the replication network, the link's own bytes and the heartbeats among it.
  static Result<double> bytes_sent() {
    std::ifstream devices{"/proc/net/dev"};
    for (std::string word; devices >> word;) {
      double bytes = 0;
      if (word == kPrimarysPort && devices >> bytes) return bytes;
    }
    return Error{ErrorCode::kNotFound, fmt::format("/proc/net/dev does not list {}", kPrimarysPort)};
  }

  const Clock& clock_;
  const UnderstudyOptions options_;
  std::unique_ptr<lab::LabPair> pair_;
  std::unique_ptr<LoadView> load_;
  Epoch first_;
  double bytes_before_ = 0;
};

}  // namespace

Result<std::unique_ptr<ProtectedGuest>> start_understudy(const Clock& clock, const UnderstudyOptions& options, Duration interval) {
  auto pair = std::make_unique<UnderstudyPair>(clock, options);
  US_TRY(pair->start(interval));
  return std::unique_ptr<ProtectedGuest>{std::move(pair)};
}

}  // namespace understudy::bench
