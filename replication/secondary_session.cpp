#include "replication/secondary_session.h"

#include <algorithm>
#include <string>
#include <utility>

#include "net/base/check.h"

namespace understudy {
namespace {

std::string list_of(const std::vector<DiskShape>& disks) {
  std::string text;
  for (const DiskShape& disk : disks)
    text += (text.empty() ? "" : ", ") + std::to_string(disk.bytes) + (disk.read_only ? " bytes read-only" : " bytes");
  return text.empty() ? "none" : text;
}

std::vector<OwnedBytes> bulk_of(const DecodedMessage& message) {
  std::vector<OwnedBytes> bulk;
  bulk.reserve(message.bulk.size());
  for (const Frame& frame : message.bulk) bulk.push_back({frame.bytes(), frame.owner()});
  return bulk;
}

}  // namespace

SecondarySession::SecondarySession(SecondaryConfig config, CheckpointTarget& target, Link& link, std::vector<DiskSink*> disks,
                                   SecondaryEvents& events)
    : config_{std::move(config)},
      target_{target},
      link_{link},
      disks_{std::move(disks)},
      events_{events},
      stage_{StageLimits{.page_count = target.page_count(), .max_disk_bytes = config_.max_epoch_disk_bytes}} {
  US_CHECK(config_.compatible != nullptr);
  for (const DiskSink* disk : disks_) disk_bytes_.push_back(disk->capacity_bytes());
}

SecondarySession::~SecondarySession() = default;

// ------------------------------------------------------------------------------------------------------------------ life

void SecondarySession::accept(Term floor) {
  accepting_ = true;
  promise(floor);
}

void SecondarySession::refuse(const std::string& reason) {
  accepting_ = false;
  refusal_ = reason;
  drop_session();
}

void SecondarySession::promise(Term promised) { floor_ = std::max(floor_, promised); }

void SecondarySession::adopt_image(CommittedEpoch at, OwnedBytes state) {
  US_CHECK(!session_ && at.epoch.raw() != 0);
  whole_ = true;
  overwritten_by_ = {};
  committed_ = at;
  state_ = std::move(state);
  ended_.clear();
}

Result<TakeoverImage> SecondarySession::prepare_takeover() {
  refuse("this node takes over");
  if (!whole_) return Error{ErrorCode::kRefused, "take over: this node holds no whole epoch"};
  if (auto failed = failed_disk()) return Error{ErrorCode::kRefused, "take over: " + *failed};
  return TakeoverImage{committed_, state_, ended_};
}

void SecondarySession::drop_session() {
  if (!stage_.empty()) ++stats_.epochs_thrown_away;
  stage_.begin(committed_.epoch);
  if (session_) over_[next_over_++ % over_.size()] = session_->id;
  session_.reset();
  ack_due_.reset();
  checked_due_.clear();
}

void SecondarySession::end_session(const std::string& reason) {
  drop_session();
  events_.session_broken(reason);
}

// -------------------------------------------------------------------------------------------------------------- incoming

void SecondarySession::receive(const DecodedMessage& message, Instant now) {
  const Envelope& from = message.envelope;
  if (!is_replication(from.kind) || from.sender != peer_of(config_.node) || from.session.raw() == 0) {
    ++stats_.foreign_messages;
    return;
  }
  if (from.kind == kind::kHello) return on_hello(message);
  if (!session_ || from.session != session_->id || from.incarnation != session_->peer || from.term < session_->term) {
    ++stats_.foreign_messages;
    return;
  }
  if (from.term < floor_) return refuse_term(from.term);
  if (from.term > session_->term) follow(from.term);
  if (!session_) return;  // the owner ended it in follow()'s event
  switch (from.kind) {
    case kind::kBegin:
      on_begin(message);
      break;
    case kind::kPages:
      on_pages(message);
      break;
    case kind::kDiskWrites:
      on_disk(message);
      break;
    case kind::kManifest:
      on_manifest(message);
      break;
    case kind::kCheckPages:
      on_check_pages(message);
      break;
    case kind::kRaiseTerm:
      break;  // its envelope said it all
    default:
      ++stats_.foreign_messages;
      return;
  }
  tick(now);
}

void SecondarySession::on_hello(const DecodedMessage& message) {
  const Envelope& from = message.envelope;
  auto hello = from_bytes<Hello>(message.payload.bytes());
  Result<void> fits = hello ? check_hello(*hello, from) : Result<void>{hello.error()};
  if (!hello) ++stats_.corrupt_messages;
  if (!fits) {
    ++stats_.refusals;
    const bool too_low = hello && accepting_ && from.term < floor_;
    send(kind::kRefuse, from.term, from.session, Epoch{},
         to_bytes(Refuse{.promise = too_low ? floor_ : Term{}, .reason = fits.error().text()}));
    return;
  }
  if (session_ && session_->id == from.session) {
    if (session_->begun) return;  // a late copy
    session_->term = from.term;   // asked again, in a term raised meanwhile
  } else {
    if (session_) end_session("the primary began another session");
    stage_.begin(committed_.epoch);
    session_ = Running{.id = from.session, .term = from.term, .peer = from.incarnation};
    ++stats_.sessions;
    events_.session_up(from.session, from.term, from.incarnation);
    if (!session_ || session_->id != from.session) return;
  }
  send(kind::kWelcome, session_->term, session_->id, Epoch{},
       to_bytes(Welcome{.image_whole = whole_,
                        .committed_term = committed_.term,
                        .committed_epoch = committed_.epoch,
                        .overwritten_by = overwritten_by_}));
}

Result<void> SecondarySession::check_hello(const Hello& hello, const Envelope& from) const {
  const auto refused = [](std::string why) { return Error{ErrorCode::kRefused, std::move(why)}; };
  if (std::ranges::find(over_, from.session) != over_.end())
    return refused("session " + std::to_string(from.session.raw()) + " is over: begin another");
  if (!accepting_) return refused(refusal_.empty() ? "this node is no secondary" : refusal_);
  if (from.term < floor_)
    return refused("term " + std::to_string(from.term.raw()) + " is below the promised " + std::to_string(floor_.raw()));
  if (whole_ && from.term < committed_.term)
    return refused("term " + std::to_string(from.term.raw()) + " is below that of the image held here, " +
                   std::to_string(committed_.term.raw()));
  if (session_ && from.term < session_->term)
    return refused("term " + std::to_string(from.term.raw()) + " is below the running session's " + std::to_string(session_->term.raw()));
  if (hello.expected_peer != config_.incarnation)
    return refused("incarnation " + std::to_string(hello.expected_peer.raw()) + " was expected, this is " +
                   std::to_string(config_.incarnation.raw()) + ": its image was lost since");
  if (auto failed = failed_disk()) return refused(*failed);
  std::vector<DiskShape> ours;
  for (const DiskSink* disk : disks_) ours.push_back({disk->capacity_bytes(), disk->read_only()});
  if (hello.disks != ours)
    return refused("disks differ: the primary has " + list_of(hello.disks) + ", the secondary " + list_of(ours) +
                   ": give both the same disks, in size, order and mode");
  if (auto fits = config_.compatible(hello.fingerprint, target_.fingerprint()); !fits)
    return std::move(fits.error()).within("the guest can't run here");
  return {};
}

void SecondarySession::on_begin(const DecodedMessage& message) {
  auto begin = from_bytes<Begin>(message.payload.bytes());
  if (!begin) return reject(Epoch{}, begin.error());
  if (session_->begun) return reject(Epoch{}, Error{ErrorCode::kCorrupt, "a second begin in one session"});
  if (!begin->full && (!whole_ || begin->base != committed_.epoch))
    return reject(begin->base, Error{ErrorCode::kCorrupt, "epochs on base " + std::to_string(begin->base.raw()) + "; this node holds " +
                                                              (whole_ ? std::to_string(committed_.epoch.raw()) : "no whole epoch")});
  const bool ours_to_resync = whole_ ? begin->base == committed_.epoch : overwritten_by_ == session_->peer;
  if (begin->full && begin->resync && !ours_to_resync)
    return reject(begin->base, Error{ErrorCode::kCorrupt, "resync since epoch " + std::to_string(begin->base.raw()) +
                                                              ", which is not what this node's image was at"});
  session_->begun = true;
  session_->full = begin->full;
  stage_.begin(begin->full ? Epoch{} : begin->base);
  if (!begin->full) return;
  ++stats_.full_transfers;
  whole_ = false;
  overwritten_by_ = session_->peer;
  committed_ = {};
  state_ = {};
  ended_.clear();
  parts_applied_ = 0;
  parts_told_ = 0;
  events_.image_overwritten();
}

void SecondarySession::on_pages(const DecodedMessage& message) {
  if (!check_begun(message)) return;
  auto batch = decode_pages(message.payload.bytes(), bulk_of(message), target_.page_count());
  if (!batch) return reject(message.envelope.epoch, batch.error());
  const Result<void> taken = session_->full ? stage_.note(*batch) : Result<void>{};
  if (!taken) return reject(message.envelope.epoch, taken.error());
  if (session_->full) {
    write_pages(*batch, target_);
    ++parts_applied_;
  } else if (auto added = stage_.add(std::move(*batch)); !added) {
    return reject(message.envelope.epoch, added.error());
  }
  events_.activity();
}

void SecondarySession::on_disk(const DecodedMessage& message) {
  if (!check_begun(message)) return;
  auto batch = decode_disk_writes(message.payload.bytes(), bulk_of(message), disk_bytes_);
  if (!batch) return reject(message.envelope.epoch, batch.error());
  for (const DiskWrite& write : batch->writes)
    if (disks_[write.disk]->read_only())
      return reject(message.envelope.epoch,
                    Error{ErrorCode::kCorrupt, "write to disk " + std::to_string(write.disk) + ", which is read-only"});
  const Result<void> taken = session_->full ? stage_.note(*batch) : Result<void>{};
  if (!taken) return reject(message.envelope.epoch, taken.error());
  if (session_->full) {
    for (DiskWrite& write : batch->writes) disks_[write.disk]->apply(std::move(write));
    ++parts_applied_;
  } else if (auto added = stage_.add(std::move(*batch)); !added) {
    return reject(message.envelope.epoch, added.error());
  }
  events_.activity();
}

void SecondarySession::on_manifest(const DecodedMessage& message) {
  if (!check_begun(message)) return;
  const Envelope& from = message.envelope;
  auto manifest = decode_manifest(message.payload.bytes());
  if (!manifest) return reject(from.epoch, manifest.error());
  if (manifest->epoch != from.epoch || manifest->term != from.term || message.bulk.size() != 1)
    return reject(from.epoch,
                  Error{ErrorCode::kCorrupt, "manifest of epoch " + std::to_string(manifest->epoch.raw()) + ", term " +
                                                 std::to_string(manifest->term.raw()) + " with " + std::to_string(message.bulk.size()) +
                                                 " frames, in an envelope of epoch " + std::to_string(from.epoch.raw()) + ", term " +
                                                 std::to_string(from.term.raw())});
  // The state outlives the message by far: copied, so that no receive buffer is held for it.
  const auto state = std::make_shared<std::vector<std::byte>>(message.bulk[0].bytes().begin(), message.bulk[0].bytes().end());
  if (auto verified = stage_.verify(*manifest, OwnedBytes{*state, state}, target_); !verified) return reject(from.epoch, verified.error());
  commit(manifest->epoch, std::move(manifest->ended));
}

// The image equals the epoch that the question is about until the next manifest, which is read after it.
void SecondarySession::on_check_pages(const DecodedMessage& message) {
  constexpr std::size_t kMostUnsaid = 64;  // far more than a primary has unanswered
  if (!check_begun(message)) return;
  const Epoch epoch = message.envelope.epoch;
  const auto question = from_bytes<CheckPages>(message.payload.bytes());
  if (!question) return reject(epoch, question.error());
  const PageCheck& check = question->pages;
  const std::size_t pages = target_.page_count();
  if (!whole_ || epoch != committed_.epoch || check.first.raw() > pages || check.hashes.size() > pages - check.first.raw() ||
      checked_due_.size() >= kMostUnsaid)
    return reject(epoch,
                  Error{ErrorCode::kCorrupt, std::to_string(check.hashes.size()) + " pages from " + std::to_string(check.first.raw()) +
                                                 " to be compared at epoch " + std::to_string(epoch.raw()) + ": the image has " +
                                                 std::to_string(pages) + " and is at epoch " + std::to_string(committed_.epoch.raw())});
  Checked answer{.first = check.first,
                 .count = static_cast<std::uint32_t>(check.hashes.size()),
                 .differing = differing_pages(check, target_),
                 .state_differs = hash_of_state(state_.bytes) != question->state_hash};
  stats_.pages_compared += check.hashes.size();
  stats_.pages_differing += answer.differing.size();
  checked_due_.push_back({epoch, std::move(answer)});
}

void SecondarySession::commit(Epoch epoch, std::string ended) {
  // The ack goes first and does not wait for the image; nothing else is read before the image is whole again.
  whole_ = true;
  overwritten_by_ = {};
  session_->full = false;
  committed_ = CommittedEpoch{session_->term, epoch};
  ack_due_ = epoch;
  ack_was_held_ = false;
  ++stats_.epochs_committed;
  send_due();
  stage_.apply(target_);
  for (DiskWrite& write : stage_.take_disk_writes()) disks_[write.disk]->apply(std::move(write));
  state_ = stage_.take_state();
  ended_ = std::move(ended);
  stage_.begin(epoch);
  events_.epoch_committed(session_->id, committed_, ended_);
}

void SecondarySession::follow(Term term) {
  session_->term = term;
  if (!whole_) return;
  committed_.term = term;
  ack_due_ = committed_.epoch;  // acks count in their own term alone: say it again in this one
  events_.epoch_committed(session_->id, committed_, ended_);
}

bool SecondarySession::check_begun(const DecodedMessage& message) {
  if (session_->begun) return true;
  reject(message.envelope.epoch, Error{ErrorCode::kCorrupt, "part of an epoch before the session's begin"});
  return false;
}

void SecondarySession::refuse_term(Term term) {
  ++stats_.refusals;
  const std::string reason = "term " + std::to_string(term.raw()) + " is below the promised " + std::to_string(floor_.raw());
  send(kind::kRefuse, session_->term, session_->id, Epoch{}, to_bytes(Refuse{.promise = floor_, .reason = reason}));
  end_session(reason);
}

void SecondarySession::reject(Epoch epoch, const Error& error) {
  ++stats_.corrupt_messages;
  send(kind::kReject, session_->term, session_->id, epoch, to_bytes(Reject{error.text()}));
  end_session("epoch " + std::to_string(epoch.raw()) + ": " + error.text());
}

// ------------------------------------------------------------------------------------------------------------------ time

void SecondarySession::tick(Instant) {
  if (!session_) return;
  if (auto failed = failed_disk()) return reject(committed_.epoch, Error{ErrorCode::kFailed, *failed});
  send_due();
}

void SecondarySession::send_due() {
  if (session_->term < floor_) return;  // promised to another: nothing of this term is acked
  if (disks_behind()) {
    if (ack_due_ && !std::exchange(ack_was_held_, true)) ++stats_.acks_held_back;
    return;
  }
  if (session_->full && parts_applied_ != parts_told_) {
    if (send(kind::kProgress, session_->term, session_->id, Epoch{}, to_bytes(Progress{parts_applied_}))) parts_told_ = parts_applied_;
  }
  const bool may_ack = !config_.may_ack || config_.may_ack(committed_);
  if (ack_due_ && may_ack && send(kind::kAck, session_->term, session_->id, *ack_due_, to_bytes(Ack{committed_.term}))) {
    ++stats_.acks;
    ack_due_.reset();
  }
  while (!checked_due_.empty() &&
         send(kind::kChecked, session_->term, session_->id, checked_due_.front().epoch, to_bytes(checked_due_.front().answer)))
    checked_due_.pop_front();
}

bool SecondarySession::send(MessageKind message, Term term, Session session, Epoch epoch, std::span<const std::byte> payload) {
  const Envelope envelope{.kind = message,
                          .pair = config_.pair,
                          .sender = config_.node,
                          .incarnation = config_.incarnation,
                          .term = term,
                          .session = session,
                          .epoch = epoch};
  // A full or broken link: acks and progress are tried again, everything else is asked for again by the primary.
  return link_.send(encode(envelope, payload)).has_value();
}

bool SecondarySession::disks_behind() const {
  std::size_t backlog = 0;
  for (const DiskSink* disk : disks_) backlog += disk->backlog_bytes();
  return backlog > config_.max_disk_backlog_bytes;
}

std::optional<std::string> SecondarySession::failed_disk() const {
  for (std::size_t d = 0; d < disks_.size(); ++d)
    if (auto failure = disks_[d]->failure()) return "the secondary's disk " + std::to_string(d) + " fails: " + failure->text();
  return std::nullopt;
}

}  // namespace understudy
