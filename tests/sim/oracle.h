// What must hold in every run, whatever fails: the judge sees everything, the nodes only what reaches them.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "failover/arbiter.h"
#include "failover/node_io.h"
#include "tests/sim/engine.h"

namespace understudy::sim {

// A guest's whole past: what it has sent, in order. Two guests with equal histories are the same guest.
using History = std::vector<std::uint64_t>;

struct GuestImage {
  std::shared_ptr<const History> history;  // may be longer: the guest runs on
  std::size_t length = 0;
  EpochPosition at;
  std::string ended{};  // not empty: the guest is over in it
};

struct OutputFrame {
  std::uint64_t index = 0;  // its place in the guest's history
  std::uint64_t content = 0;
  Epoch epoch;
};

class Oracle {
 public:
  explicit Oracle(const Engine& engine) : engine_{engine} {}

  // Rule 1: the record changes only upward, one holder a term.
  void granted(const ArbiterRecord& record);
  // The same without a witness: each node grants by its own record, so a term need not be the highest of all, but still has one holder.
  void granted_here(const ArbiterRecord& record);
  // Rule 3: what is on stable storage when a takeover is asked for.
  void takeover_asked(NodeIncarnation node, Term at_least, Term stored_promise);
  // Rule 4: solo is asked for by a host whose paths have long been failed.
  void solo_asked(NodeIncarnation node, bool long_sick);
  void committed(NodeIncarnation node, const GuestImage& image);
  void image_lost(NodeIncarnation node) { held_.erase(node.incarnation); }
  // A guest starts to run: booted (length 0) or taken over.
  void guest_started(NodeIncarnation node, Term term, const History& history, Term stored_term, bool booted);
  // A holder says that its guest is over and that nobody can revive it; an operator has it started again.
  void end_settled(NodeIncarnation node, Term term);
  void operator_starts() { over_ = false; }
  // A frame leaves the host. `delivered`: the service path works, so a client may see it.
  void released(NodeIncarnation node, Term term, GateMode mode, const OutputFrame& frame, const History& history, bool delivered);

  // The guests that ever were, by a digest of their past.
  void remember(std::uint64_t digest, GuestImage image) { known_[digest] = std::move(image); }
  std::optional<GuestImage> recall(std::uint64_t digest) const {
    const auto found = known_.find(digest);
    return found == known_.end() ? std::nullopt : std::optional{found->second};
  }

  void violate(const std::string& rule, const std::string& what);
  bool violated() const { return !rule_.empty(); }
  const std::string& rule() const { return rule_; }
  const std::string& what() const { return what_; }

  const std::map<Term, ArbiterRecord>& grants() const { return grants_; }
  std::optional<Instant> last_delivery() const { return last_delivery_; }
  Duration longest_silence_since(Instant start) const;
  // What was delivered so far is counted, and no longer dated.
  void forget_instants();
  std::size_t delivered() const { return forgotten_ + deliveries_.size(); }
  std::uint64_t digest() const { return digest_; }
  std::size_t ends() const { return ends_; }
  std::size_t takeovers() const { return starts_.empty() ? 0 : starts_.size() - 1; }

 private:
  struct Start {
    NodeIncarnation node;
    std::size_t length = 0;
    bool spoke = false;
  };
  const Engine& engine_;
  std::string rule_;
  std::string what_;
  bool over_ = false;
  std::size_t ends_ = 0;
  std::map<Term, ArbiterRecord> grants_;
  std::map<Term, Start> starts_;
  std::map<Incarnation, GuestImage> held_;  // what each image holds now
  std::unordered_map<std::uint64_t, GuestImage> known_;
  std::vector<std::optional<std::uint64_t>> seen_;  // by clients, by place in the history
  std::optional<Instant> last_delivery_;
  std::vector<Instant> deliveries_;
  std::size_t forgotten_ = 0;
  std::uint64_t digest_ = 0;
};

}  // namespace understudy::sim
