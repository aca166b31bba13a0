#include "failover/etcd_codec.h"

#include <algorithm>
#include <cstring>

#include <capnp/compat/json.h>
#include <capnp/message.h>
#include <kj/encoding.h>

#include "failover/etcd.capnp.h"
#include "failover/witness_codec.h"
#include "net/base/check.h"
#include "net/payload.h"
#include "replication/sealed_record.h"

namespace understudy {

namespace {

constexpr std::size_t kMaxNesting = 16;      // of JSON; the messages need 6
constexpr std::size_t kMaxFaultBytes = 256;  // of what is shown of etcd's own words

Error misread(std::string what) { return Error{ErrorCode::kCorrupt, "etcd's answer: " + std::move(what)}; }

kj::String base64_of(std::span<const std::byte> bytes) {
  return kj::encodeBase64(kj::arrayPtr(reinterpret_cast<const kj::byte*>(bytes.data()), bytes.size()));
}
kj::String base64_of(std::string_view text) { return base64_of(std::as_bytes(std::span{text})); }

Result<std::vector<std::byte>> bytes_of(capnp::Text::Reader base64, const char* what) {
  const auto decoded = kj::decodeBase64(base64.asArray());
  if (decoded.hadErrors) return misread(std::string{what} + " is not base64");
  const auto* const first = reinterpret_cast<const std::byte*>(decoded.begin());
  return std::vector<std::byte>(first, first + decoded.size());
}

template <class Ops>
void write_ranges(Ops ops, const std::vector<std::string>& keys) {
  for (unsigned i = 0; i < ops.size(); ++i) ops[i].initRequestRange().setKey(base64_of(keys[i]));
}

// Runs `visit` on the JSON text as a message; what Cap'n Proto objects to becomes an error.
template <class Schema, class Visit>
auto read_json(std::string_view json, Visit visit) -> std::invoke_result_t<Visit, typename Schema::Reader> {
  try {
    capnp::JsonCodec codec;
    codec.setMaxNestingDepth(kMaxNesting);
    codec.handleByAnnotation<Schema>();
    capnp::MallocMessageBuilder message;
    auto root = message.initRoot<Schema>();
    codec.decode(kj::arrayPtr(json.data(), json.size()), root);
    return visit(root.asReader());
  } catch (const kj::Exception& exception) {
    return misread(std::string{"is not the JSON that was expected: "} + exception.getDescription().cStr());
  }
}

Result<EtcdValue> read_value(schema::EtcdResponseOp::Reader op, const std::string& key) {
  if (!op.hasResponseRange()) return misread("lacks what was read of a key");
  const auto kvs = op.getResponseRange().getKvs();
  if (kvs.size() == 0) return EtcdValue{};
  if (kvs.size() > 1) return misread("has " + std::to_string(kvs.size()) + " values of one key");
  US_ASSIGN(const auto found, bytes_of(kvs[0].getKey(), "a key"));
  if (found.size() != key.size() || std::memcmp(found.data(), key.data(), key.size()) != 0) return misread("is about another key");
  EtcdValue value{.mod_revision = kvs[0].getModRevision(), .bytes = {}};
  if (value.mod_revision <= 0) return misread("has a key without the revision of its change");
  US_ASSIGN(value.bytes, bytes_of(kvs[0].getValue(), "a value"));
  return value;
}

}  // namespace

std::string encode_etcd_txn(const EtcdTxn& txn) {
  capnp::MallocMessageBuilder message;
  auto out = message.initRoot<schema::EtcdTxnRequest>();
  const auto count = static_cast<unsigned>(txn.keys.size());
  if (txn.put) {
    US_CHECK(txn.unchanged.size() == txn.keys.size());
    auto compare = out.initCompare(count);
    for (unsigned i = 0; i < count; ++i) {
      compare[i].setResult("EQUAL");
      compare[i].setTarget("MOD");
      compare[i].setKey(base64_of(txn.keys[i]));
      compare[i].setModRevision(txn.unchanged[i]);
    }
    auto put = out.initSuccess(1)[0].initRequestPut();
    put.setKey(base64_of(txn.put->key));
    put.setValue(base64_of(txn.put->value));
    write_ranges(out.initFailure(count), txn.keys);
  } else {
    write_ranges(out.initSuccess(count), txn.keys);
  }
  capnp::JsonCodec codec;
  codec.handleByAnnotation<schema::EtcdTxnRequest>();
  return codec.encode(out.asReader()).cStr();
}

Result<EtcdTxnAnswer> decode_etcd_txn(const EtcdTxn& txn, std::string_view json) {
  return read_json<schema::EtcdTxnResponse>(json, [&](schema::EtcdTxnResponse::Reader in) -> Result<EtcdTxnAnswer> {
    EtcdTxnAnswer answer{.cluster = in.getHeader().getClusterId(),
                         .revision = in.getHeader().getRevision(),
                         .written = in.getSucceeded() && txn.put.has_value(),
                         .values = {}};
    if (answer.cluster == 0) return misread("names no cluster");
    if (answer.revision <= 0) return misread("has no revision");
    if (!txn.put && !in.getSucceeded()) return misread("says that a read without a condition did not succeed");
    if (answer.written) return answer;
    const auto responses = in.getResponses();
    if (responses.size() != txn.keys.size())
      return misread("has " + std::to_string(responses.size()) + " parts where " + std::to_string(txn.keys.size()) + " were asked for");
    for (unsigned i = 0; i < responses.size(); ++i) {
      US_ASSIGN(auto value, read_value(responses[i], txn.keys[i]));
      answer.values.push_back(std::move(value));
    }
    return answer;
  });
}

std::string decode_etcd_fault(std::string_view json) {
  const auto text = read_json<schema::EtcdFault>(json, [](schema::EtcdFault::Reader in) -> Result<std::string> {
    const auto message = in.getMessage();
    return std::string{message.cStr(), std::min<std::size_t>(message.size(), kMaxFaultBytes)};
  });
  if (!text) return {};
  std::string line = *text;
  // It goes to logs and terminals.
  std::ranges::replace_if(
      line, [](char c) { return c < 0x20 || c == 0x7f; }, ' ');
  return line;
}

std::vector<std::byte> encode_etcd_pair(std::string_view key, const EtcdPair& pair) {
  return seal_record(key, build_payload<schema::StoredEtcdPair>([&](schema::StoredEtcdPair::Builder out) {
                       out.setStore(pair.store.raw());
                       const auto bytes = encode_witness_pair(pair.pair);
                       out.setPair(kj::arrayPtr(reinterpret_cast<const kj::byte*>(bytes.data()), bytes.size()));
                     }));
}

Result<EtcdPair> decode_etcd_pair(std::string_view key, std::span<const std::byte> value) {
  US_ASSIGN(const auto payload, unseal_record(key, value));
  return read_payload<schema::StoredEtcdPair>(payload, [](schema::StoredEtcdPair::Reader in) -> Result<EtcdPair> {
    EtcdPair pair{.store = StoreId{in.getStore()}, .pair = {}};
    US_ASSIGN(pair.pair, decode_witness_pair(std::as_bytes(std::span{in.getPair().begin(), in.getPair().size()})));
    return pair;
  });
}

std::vector<std::byte> encode_etcd_identity(std::string_view key, const EtcdIdentity& identity) {
  return seal_record(key, build_payload<schema::StoredEtcdIdentity>([&](schema::StoredEtcdIdentity::Builder out) {
                       out.setCluster(identity.cluster);
                       out.setStore(identity.witness.store.raw());
                       out.setAmnesiac(identity.witness.amnesiac);
                     }));
}

Result<EtcdIdentity> decode_etcd_identity(std::string_view key, std::span<const std::byte> value) {
  US_ASSIGN(const auto payload, unseal_record(key, value));
  return read_payload<schema::StoredEtcdIdentity>(payload, [](schema::StoredEtcdIdentity::Reader in) {
    return EtcdIdentity{.cluster = in.getCluster(), .witness = {.store = StoreId{in.getStore()}, .amnesiac = in.getAmnesiac()}};
  });
}

}  // namespace understudy
