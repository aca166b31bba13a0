#include "failover/poison_pill.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

#include <xxhash.h>

#include "net/base/event_loop.h"
#include "net/base/log.h"

namespace understudy {

namespace {

struct Sector {
  std::uint32_t magic;
  std::uint32_t version;
  std::uint64_t pair;
  std::uint64_t incarnation;
  std::uint64_t term;
  std::uint64_t checksum;  // XXH3-64 of what stands before
};
static_assert(sizeof(Sector) == 40);

constexpr std::uint32_t kMagic = 0x4c495055;  // "UPIL" in memory
constexpr std::uint32_t kVersion = 1;

std::uint64_t checksum_of(const Sector& sector) { return XXH3_64bits(&sector, offsetof(Sector, checksum)); }

// Memory as direct I/O wants it.
struct AlignedSector {
  alignas(kPillSectorBytes) std::byte bytes[kPillSectorBytes];
};

}  // namespace

std::vector<std::byte> encode_pill(const PillRecord& record) {
  Sector sector{.magic = kMagic,
                .version = kVersion,
                .pair = record.pair.raw(),
                .incarnation = record.incarnation.raw(),
                .term = record.term.raw(),
                .checksum = 0};
  sector.checksum = checksum_of(sector);
  std::vector<std::byte> bytes(kPillSectorBytes);
  std::memcpy(bytes.data(), &sector, sizeof sector);
  return bytes;
}

Result<std::optional<PillRecord>> decode_pill(std::span<const std::byte> bytes) {
  if (bytes.size() != kPillSectorBytes) return Error{ErrorCode::kCorrupt, "a pill's sector of " + std::to_string(bytes.size()) + " bytes"};
  if (std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{}; })) return std::optional<PillRecord>{};
  Sector sector{};
  std::memcpy(&sector, bytes.data(), sizeof sector);
  if (sector.magic != kMagic) return Error{ErrorCode::kCorrupt, "a sector that is none of Understudy's"};
  if (sector.version != kVersion)
    return Error{ErrorCode::kUnsupportedVersion,
                 "a pill's format version " + std::to_string(sector.version) + "; this release reads " + std::to_string(kVersion)};
  if (sector.checksum != checksum_of(sector)) return Error{ErrorCode::kCorrupt, "a pill's checksum mismatch"};
  return std::optional{PillRecord{PairId{sector.pair}, Incarnation{sector.incarnation}, Term{sector.term}}};
}

Result<PillDisk> PillDisk::open(const std::filesystem::path& path, PairId pair, bool direct) {
  UniqueFd fd{::open(path.c_str(), O_RDWR | O_CLOEXEC | O_DSYNC | (direct ? O_DIRECT : 0))};
  if (!fd) return Error::from_errno("open the shared disk " + path.string());
  return PillDisk{std::move(fd), pair};
}

Result<void> PillDisk::write(std::uint64_t sector, const PillRecord& record) {
  AlignedSector aligned;
  const auto bytes = encode_pill(record);
  std::ranges::copy(bytes, aligned.bytes);
  const auto at = static_cast<off_t>(sector * kPillSectorBytes);
  if (::pwrite(fd_.get(), aligned.bytes, kPillSectorBytes, at) != static_cast<ssize_t>(kPillSectorBytes))
    return Error::from_errno("write sector " + std::to_string(sector) + " of the shared disk");
  return {};
}

Result<std::optional<PillRecord>> PillDisk::read(std::uint64_t sector) const {
  AlignedSector aligned;
  const ssize_t count = ::pread(fd_.get(), aligned.bytes, kPillSectorBytes, static_cast<off_t>(sector * kPillSectorBytes));
  if (count < 0) return Error::from_errno("read sector " + std::to_string(sector) + " of the shared disk");
  if (count == 0) return std::optional<PillRecord>{};  // a file that is not so long yet
  if (count != static_cast<ssize_t>(kPillSectorBytes))
    return Error{ErrorCode::kFailed, "read sector " + std::to_string(sector) + " of the shared disk: " + std::to_string(count) + " bytes"};
  US_ASSIGN(auto record, decode_pill(aligned.bytes));
  if (record && record->pair != pair_) record.reset();
  return record;
}

namespace {

class Watcher final : public PoisonPill {
 public:
  Watcher(PillDisk disk, const PillConfig& config, const Clock& clock, std::function<void(Term)> poisoned)
      : disk_{std::move(disk)}, config_{config}, clock_{clock}, poisoned_{std::move(poisoned)}, read_at_{to_ns(clock.now())} {}
  ~Watcher() override { thread_.reset(); }

  Result<void> start() {
    // What lies there is for a process before this one.
    US_TRY(disk_.write_status(config_.self.node, {config_.pair, config_.self.incarnation, Term{}}));
    US_ASSIGN(thread_, LoopThread::start(clock_, "poison-pill"));
    loop_ = &thread_->loop();
    loop_->post([this] { look(); });
    return {};
  }

  void taken(Term term) override {
    loop_->post([this, term] {
      if (const auto put = disk_.write_status(config_.self.node, {config_.pair, config_.self.incarnation, term}); !put)
        log(Severity::kError, "the other node is not told that the pill was taken", {{"reason", put.error().text()}});
    });
  }

  void poison(Term term, Duration patience, std::function<void(Result<std::string>)> done) override {
    loop_->post([this, term, patience, done = std::move(done)]() mutable {
      if (shot_) finish(Error{ErrorCode::kBusy, "poison pill: another one is under way"});
      const NodeId victim = peer_of(config_.self.node);
      const auto status = disk_.read_status(victim);
      if (!status) return done(status.error());
      if (!*status) return done(Error{ErrorCode::kNotFound, "poison pill: the other node has never used the shared disk"});
      if (const auto put = disk_.write_pill(victim, {config_.pair, (*status)->incarnation, term}); !put) return done(put.error());
      shot_ = Shot{(*status)->incarnation, term, clock_.now() + patience, std::move(done)};
    });
  }

  Duration since_read() const override { return clock_.now() - Instant{Duration{read_at_.load()}}; }

 private:
  struct Shot {
    Incarnation victim;
    Term term;
    Instant deadline;
    std::function<void(Result<std::string>)> done;
  };

  void look() {
    loop_->call_at(clock_.now() + config_.period, [this] { look(); });
    const auto pill = disk_.read_pill(config_.self.node);
    if (!pill) {
      if (!std::exchange(failing_, true)) log(Severity::kError, "the shared disk can't be read", {{"reason", pill.error().text()}});
    } else {
      failing_ = false;
      read_at_ = to_ns(clock_.now());
      if (*pill && (*pill)->incarnation == config_.self.incarnation && (*pill)->term > newest_) {
        newest_ = (*pill)->term;
        poisoned_(newest_);
      }
    }
    if (shot_) look_after_shot();
  }

  void look_after_shot() {
    const auto status = disk_.read_status(peer_of(config_.self.node));
    if (status && *status && (*status)->incarnation != shot_->victim) return finish("another process lives on the other host");
    if (status && *status && (*status)->term >= shot_->term) return finish("the other node took the poison pill");
    if (clock_.now() >= shot_->deadline) finish(Error{ErrorCode::kTimeout, "poison pill: not taken in time"});
  }

  void finish(Result<std::string> outcome) {
    const auto done = std::move(shot_->done);
    shot_.reset();
    done(std::move(outcome));
  }

  PillDisk disk_;  // the thread's, after start()
  const PillConfig config_;
  const Clock& clock_;
  const std::function<void(Term)> poisoned_;
  std::atomic<std::int64_t> read_at_;
  // The thread's:
  bool failing_ = false;
  Term newest_;
  std::optional<Shot> shot_;
  EventLoop* loop_ = nullptr;  // the thread's, which uses it until it has ended
  std::unique_ptr<LoopThread> thread_;
};

}  // namespace

Result<std::unique_ptr<PoisonPill>> PoisonPill::start(const PillConfig& config, const Clock& clock, std::function<void(Term)> poisoned) {
  US_ASSIGN(auto disk, PillDisk::open(config.disk, config.pair, config.direct));
  auto watcher = std::make_unique<Watcher>(std::move(disk), config, clock, std::move(poisoned));
  US_TRY(watcher->start());
  return std::unique_ptr<PoisonPill>{std::move(watcher)};
}

}  // namespace understudy
