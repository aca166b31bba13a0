#include "replication/rocksdb_store.h"

#include <algorithm>
#include <string>

#include "net/payload.h"
#include "replication/small_db.h"
#include "replication/store.capnp.h"

namespace understudy {

namespace {
using Durability = SmallDb::Durability;
constexpr const char* kIdentityKey = "identity";
constexpr const char* kTermKey = "term";
constexpr const char* kPromiseKey = "promise";
constexpr const char* kCommittedKey = "committed";
constexpr const char* kSpoiledKey = "spoiled";
constexpr const char* kEndKey = "end";
constexpr const char* kOrdersKey = "orders";

std::string owner_text(PairId pair, NodeId node) { return "pair " + std::to_string(pair.raw()) + ", node " + name_of(node); }

// Reads a record and gives it to `visit`; `missing` where there is none.
template <class Schema, class Out, class Visit>
Result<Out> read_record(const SmallDb& db, const char* key, Out missing, Visit visit) {
  US_ASSIGN(const auto payload, db.get(key));
  if (!payload) return missing;
  auto read = read_payload<Schema>(*payload, visit);
  if (!read) return std::move(read.error()).within("store " + db.path().string() + ": record \"" + key + "\"");
  return read;
}

Result<Term> read_term(const SmallDb& db, const char* key) {
  return read_record<schema::StoredTerm>(db, key, Term{}, [](schema::StoredTerm::Reader in) { return Term{in.getTerm()}; });
}

Result<CommittedEpoch> read_epoch(const SmallDb& db, const char* key) {
  return read_record<schema::StoredCommit>(db, key, CommittedEpoch{}, [](schema::StoredCommit::Reader in) {
    return CommittedEpoch{Term{in.getTerm()}, Epoch{in.getEpoch()}};
  });
}

std::vector<std::byte> encode(Term term) {
  return build_payload<schema::StoredTerm>([&](schema::StoredTerm::Builder out) { out.setTerm(term.raw()); });
}
std::vector<std::byte> encode(CommittedEpoch at) {
  return build_payload<schema::StoredCommit>([&](schema::StoredCommit::Builder out) {
    out.setTerm(at.term.raw());
    out.setEpoch(at.epoch.raw());
  });
}
}  // namespace

RocksDbStore::RocksDbStore(std::unique_ptr<SmallDb> db, PairId pair, NodeId node) : db_{std::move(db)}, pair_{pair}, node_{node} {}
RocksDbStore::~RocksDbStore() = default;

Result<std::unique_ptr<RocksDbStore>> RocksDbStore::open(const std::filesystem::path& path, PairId pair, NodeId node) {
  US_ASSIGN(auto db, SmallDb::open(path, SmallDb::IfMissing::kCreate));
  std::unique_ptr<RocksDbStore> store{new RocksDbStore{std::move(db), pair, node}};
  // Whatever is damaged shows now, and not when a promise is due.
  US_ASSIGN(const auto identity, store->identity());
  US_TRY(store->term());
  US_TRY(store->promise());
  US_TRY(store->committed());
  US_TRY(store->spoiled());
  US_TRY(store->end());
  US_TRY(store->orders());
  if (identity && (identity->pair != pair || identity->node != node))
    return Error{ErrorCode::kRefused, "open store " + path.string() + ": it is of " + owner_text(identity->pair, identity->node) +
                                          ", and this is " + owner_text(pair, node) + ": give each node its own directory"};
  return store;
}

Result<void> RocksDbStore::put_identity(const NodeIdentity& identity) {
  if (identity.pair != pair_ || identity.node != node_)
    return Error{ErrorCode::kRefused, "store " + db_->path().string() + " of " + owner_text(pair_, node_) + ": identity of " +
                                          owner_text(identity.pair, identity.node)};
  return db_->put(kIdentityKey, build_payload<schema::StoredIdentity>([&](schema::StoredIdentity::Builder out) {
                    out.setPair(identity.pair.raw());
                    out.setNode(static_cast<std::uint8_t>(identity.node));
                    out.setIncarnation(identity.incarnation.raw());
                  }),
                  Durability::kSynced);
}

Result<void> RocksDbStore::check_raised(const char* key, Term to) const {
  US_ASSIGN(const auto now, read_term(*db_, key));
  if (to >= now) return {};
  return Error{ErrorCode::kRefused, "store " + db_->path().string() + ": " + key + " " + std::to_string(to.raw()) +
                                        " is below the stored " + std::to_string(now.raw())};
}

Result<void> RocksDbStore::put_raised(const char* key, Term to) {
  US_TRY(check_raised(key, to));
  // Also when equal: the record may be there from a write whose sync was reported as failed.
  return db_->put(key, encode(to), Durability::kSynced);
}

Result<void> RocksDbStore::put_spoiled(CommittedEpoch through) {
  US_ASSIGN(const auto now, spoiled());
  return db_->put(kSpoiledKey, encode(std::max(now, through)), Durability::kSynced);
}

Result<void> RocksDbStore::put_holding(Term term) {
  US_TRY(check_raised(kTermKey, term));
  US_ASSIGN(const auto spoiled_now, spoiled());
  const auto term_record = encode(term);
  const auto spoiled_record = encode(std::max(spoiled_now, CommittedEpoch{term, Epoch{}}));
  const SmallDb::Record records[] = {{kTermKey, term_record}, {kSpoiledKey, spoiled_record}};
  return db_->put(records, Durability::kSynced);
}

Result<void> RocksDbStore::put_term(Term term) { return put_raised(kTermKey, term); }
Result<void> RocksDbStore::put_promise(Term promised) { return put_raised(kPromiseKey, promised); }

Result<void> RocksDbStore::put_end(const std::string& ended) {
  return db_->put(kEndKey, build_payload<schema::StoredEnd>([&](schema::StoredEnd::Builder out) { out.setEnded(ended); }),
                  Durability::kSynced);
}

Result<void> RocksDbStore::put_orders(std::span<const std::byte> orders) { return db_->put(kOrdersKey, orders, Durability::kSynced); }

Result<void> RocksDbStore::put_committed(CommittedEpoch committed) {
  return db_->put(kCommittedKey, encode(committed), Durability::kBuffered);
}

Result<std::optional<NodeIdentity>> RocksDbStore::identity() const {
  using Identity = std::optional<NodeIdentity>;
  return read_record<schema::StoredIdentity>(*db_, kIdentityKey, Identity{}, [](schema::StoredIdentity::Reader in) -> Result<Identity> {
    if (in.getNode() > 1) return Error{ErrorCode::kCorrupt, "node " + std::to_string(in.getNode()) + ": a pair has 0 and 1"};
    return Identity{{PairId{in.getPair()}, static_cast<NodeId>(in.getNode()), Incarnation{in.getIncarnation()}}};
  });
}

Result<Term> RocksDbStore::term() const { return read_term(*db_, kTermKey); }
Result<Term> RocksDbStore::promise() const { return read_term(*db_, kPromiseKey); }

Result<std::string> RocksDbStore::end() const {
  return read_record<schema::StoredEnd>(*db_, kEndKey, std::string{},
                                        [](schema::StoredEnd::Reader in) { return std::string{in.getEnded().cStr()}; });
}

Result<std::vector<std::byte>> RocksDbStore::orders() const {
  US_ASSIGN(auto stored, db_->get(kOrdersKey));
  return stored ? std::move(*stored) : std::vector<std::byte>{};
}

Result<CommittedEpoch> RocksDbStore::committed() const { return read_epoch(*db_, kCommittedKey); }
Result<CommittedEpoch> RocksDbStore::spoiled() const { return read_epoch(*db_, kSpoiledKey); }

}  // namespace understudy
