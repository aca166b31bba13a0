#include "failover/witness_store.h"

#include <random>
#include <string>

#include "failover/witness_codec.h"
#include "replication/small_db.h"

namespace understudy {

namespace {
constexpr const char* kIdentityKey = "witness";
std::string key_of(PairId pair) { return "pair/" + std::to_string(pair.raw()); }

StoreId random_store_id() {
  std::random_device random;
  std::uniform_int_distribution<std::uint64_t> any{1};
  return StoreId{any(random)};
}

Error advise(Error error) {
  if (error.code() != ErrorCode::kNotFound) return error;
  return Error{ErrorCode::kNotFound, error.text() +
                                         ": set the witness up as new if it never served these pairs, as a replacement if its store was "
                                         "lost"};
}
}  // namespace

WitnessStore::WitnessStore(std::unique_ptr<SmallDb> db, WitnessIdentity identity) : db_{std::move(db)}, identity_{identity} {}
WitnessStore::~WitnessStore() = default;

Result<std::unique_ptr<WitnessStore>> WitnessStore::open(const std::filesystem::path& path, Open how) {
  auto opened = SmallDb::open(path, how == Open::kExisting ? SmallDb::IfMissing::kFail : SmallDb::IfMissing::kCreate);
  if (!opened) return advise(std::move(opened.error())).within("witness");
  auto db = std::move(*opened);
  US_ASSIGN(const auto stored, db->get(kIdentityKey));
  if (stored) {
    if (how == Open::kReplacement)
      return Error{ErrorCode::kRefused,
                   "witness: open store " + path.string() + ": it is whole: a replacement is for a lost one, and needs an empty directory"};
    auto identity = decode_witness_identity(*stored);
    if (!identity) return std::move(identity.error()).within("witness: open store " + path.string());
    return std::unique_ptr<WitnessStore>{new WitnessStore{std::move(db), *identity}};
  }
  if (how == Open::kExisting)
    return Error{ErrorCode::kCorrupt, "witness: open store " + path.string() + ": its setup was never finished: set it up again"};
  const WitnessIdentity identity{.store = random_store_id(), .amnesiac = how == Open::kReplacement};
  US_TRY(db->put(kIdentityKey, encode_witness_identity(identity), SmallDb::Durability::kSynced));
  return std::unique_ptr<WitnessStore>{new WitnessStore{std::move(db), identity}};
}

Result<WitnessPair> WitnessStore::load(PairId pair) const {
  US_ASSIGN(const auto stored, db_->get(key_of(pair)));
  if (!stored) return WitnessPair{};
  auto state = decode_witness_pair(*stored);
  if (!state) return std::move(state.error()).within("witness: record of pair " + std::to_string(pair.raw()));
  return state;
}

Result<void> WitnessStore::save(PairId pair, const WitnessPair& state) {
  return db_->put(key_of(pair), encode_witness_pair(state), SmallDb::Durability::kSynced);
}

}  // namespace understudy
