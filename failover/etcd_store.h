// The witness's rules over etcd: read a pair's record, decide, and write it if nobody else did meanwhile. Blocking; see ETCD.md.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "failover/etcd_codec.h"
#include "failover/etcd_connection.h"
#include "failover/witness_codec.h"

namespace understudy {

struct EtcdConfig {
  std::vector<EtcdEndpoint> endpoints;                // members of one cluster
  std::optional<EtcdTls> tls;                         // of https endpoints
  std::string prefix = "default";                     // of this arbiter's keys, below /understudy/
  Duration timeout = std::chrono::milliseconds{500};  // of one member: for all that a call asks it
};

// An operator's word about a cluster.
enum class EtcdSetUp : std::uint8_t {
  kNew,          // no arbiter ever served these pairs
  kReplacement,  // in a lost one's place: grants nothing until seeded
  kRestored,     // holds a backup: what is on record counts for nothing until seeded
};

// The keys: /understudy/<prefix>/arbiter says that this cluster may grant, /understudy/<prefix>/<pair id> is the record.
struct EtcdKeys {
  EtcdKeys(std::string_view prefix, PairId pair);
  std::string marker;
  std::string pair;
};

// One thread, but for cut().
class EtcdStore {
 public:
  using Members = std::vector<std::unique_ptr<EtcdConnection>>;  // at least one
  using Request = decltype(WitnessRequest::what);

  // kInvalid names the file of `config.tls` that is no good.
  static Result<std::unique_ptr<EtcdStore>> open(const EtcdConfig& config, PairId pair, const Clock& clock);
  EtcdStore(Members members, const EtcdConfig& config, PairId pair, const Clock& clock);

  // What the arbiter answers to a call that was made at `called`, by `clock`. Members are tried in turn, the one that answered last first,
  // each for the configured time at most; a call that waited for longer than patience() before it came here asks nobody. Errors:
  // kRefused, in words, when this cluster may not grant (it was never set up, or comes from a backup); kTimeout, kUnavailable, kCorrupt
  // when no member answered sensibly: a proposal may then have been granted, or may be yet: repeat it under the same request id.
  Result<ArbiterAnswer> serve(const Request& request, Instant called);

  // From now on this cluster may grant. What is set up already stays as it is, but for kRestored. kRefused where a replacement would
  // displace a whole cluster, where endpoints belong to different clusters, and where what is plainly a backup is called new.
  Result<WitnessIdentity> set_up(EtcdSetUp how);

  // As many times the configured timeout as there are members.
  Duration patience() const;
  // Ends the request that is out, and lets no other out. Any thread.
  void cut();

 private:
  struct State;
  template <class Attempt>
  auto over_members(Attempt attempt) -> std::invoke_result_t<Attempt, EtcdConnection&, Instant>;
  Result<EtcdTxnAnswer> exchange(EtcdConnection& member, const EtcdTxn& txn, Instant deadline);
  Result<State> understand(const EtcdTxnAnswer& answer) const;
  Result<ArbiterAnswer> serve_by(EtcdConnection& member, const Request& request, Instant deadline);
  Result<WitnessIdentity> set_up_by(EtcdConnection& member, EtcdSetUp how, Instant deadline);
  Result<void> check_one_cluster();

  const Members members_;
  const EtcdKeys keys_;
  const Duration timeout_;
  const Clock& clock_;
  std::size_t preferred_ = 0;  // the member that answered last
  std::uint64_t cluster_ = 0;  // that answered last, and its newest revision
  std::int64_t revision_ = 0;
  bool rolled_back_ = false;  // it showed an older one: to be written down in the pair's record
};

}  // namespace understudy
