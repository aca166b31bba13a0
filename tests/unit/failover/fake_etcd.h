// An etcd cluster in memory, at the seam of EtcdConnection: keys with revisions, transactions by etcd's rules, and everything that can
// become of a request on its way.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <capnp/compat/json.h>
#include <capnp/message.h>
#include <kj/encoding.h>

#include "failover/etcd.capnp.h"
#include "failover/etcd_connection.h"

namespace understudy {

// Any thread.
class FakeEtcd {
  struct Entry {
    std::string base64;
    std::int64_t revision = 0;
  };

 public:
  explicit FakeEtcd(std::uint64_t cluster) : cluster_{cluster} {}

  void set_cluster(std::uint64_t cluster) {
    const std::lock_guard lock{mutex_};
    cluster_ = cluster;
  }
  void forget_everything() {
    const std::lock_guard lock{mutex_};
    keys_.clear();
    ++revision_;
  }
  // What a backup holds, and a restoration of it.
  struct Backup {
    std::map<std::string, Entry> keys;
    std::int64_t revision;
  };
  Backup backup() {
    const std::lock_guard lock{mutex_};
    return {keys_, revision_};
  }
  void restore(const Backup& backup) {
    const std::lock_guard lock{mutex_};
    keys_ = backup.keys;
    revision_ = backup.revision;
  }
  void put(const std::string& key, const std::vector<std::byte>& value) {
    const std::lock_guard lock{mutex_};
    keys_[base64(key)] = {base64({reinterpret_cast<const char*>(value.data()), value.size()}), ++revision_};
  }
  std::size_t keys() {
    const std::lock_guard lock{mutex_};
    return keys_.size();
  }

  std::string serve(const std::string& json) {
    const std::lock_guard lock{mutex_};
    capnp::MallocMessageBuilder message;
    auto txn = message.initRoot<schema::EtcdTxnRequest>();
    capnp::JsonCodec codec;
    codec.handleByAnnotation<schema::EtcdTxnRequest>();
    codec.decode(kj::arrayPtr(json.data(), json.size()), txn);
    bool holds = true;
    for (const auto compare : txn.asReader().getCompare()) {
      const auto found = keys_.find(compare.getKey().cStr());
      holds = holds && (found == keys_.end() ? 0 : found->second.revision) == compare.getModRevision();
    }
    std::string parts;
    for (const auto op : holds ? txn.asReader().getSuccess() : txn.asReader().getFailure()) {
      parts += parts.empty() ? "" : ",";
      if (op.hasRequestPut()) {
        keys_[op.getRequestPut().getKey().cStr()] = {op.getRequestPut().getValue().cStr(), ++revision_};
        parts += R"({"response_put":{"header":{"revision":")" + std::to_string(revision_) + R"("}}})";
        continue;
      }
      const std::string key = op.getRequestRange().getKey().cStr();
      const auto found = keys_.find(key);
      parts += R"({"response_range":{"header":{})";
      if (found != keys_.end())
        parts += R"(,"kvs":[{"key":")" + key + R"(","create_revision":"1","mod_revision":")" + std::to_string(found->second.revision) +
                 R"(","version":"1","value":")" + found->second.base64 + R"("}],"count":"1")";
      parts += "}}";
    }
    return R"({"header":{"cluster_id":")" + std::to_string(cluster_) + R"(","member_id":"1","revision":")" + std::to_string(revision_) +
           R"(","raft_term":"2"})" + (holds ? R"(,"succeeded":true)" : "") + R"(,"responses":[)" + parts + "]}";
  }

 private:
  static std::string base64(std::string_view text) {
    return kj::encodeBase64(kj::arrayPtr(reinterpret_cast<const kj::byte*>(text.data()), text.size())).cStr();
  }

  std::mutex mutex_;
  std::uint64_t cluster_;
  std::int64_t revision_ = 1;
  std::map<std::string, Entry> keys_;  // by the key in base64
};

// A member of it. `deliver` stands between: it is given the request and what serves it, and returns what the asker sees.
class FakeMember final : public EtcdConnection {
 public:
  using Serve = std::function<std::string()>;
  using Deliver = std::function<Result<std::string>(const std::string& json, const Serve& serve)>;

  FakeMember(FakeEtcd& cluster, std::string name, Deliver deliver = {})
      : cluster_{cluster}, name_{std::move(name)}, deliver_{std::move(deliver)} {}

  Result<std::string> post(const std::string& path, const std::string& json, Duration) override {
    if (path != "/v3/kv/txn") return Error{ErrorCode::kCorrupt, "HTTP status 404"};
    const Serve serve = [&] { return cluster_.serve(json); };
    return deliver_ ? deliver_(json, serve) : serve();
  }
  void cut() override {}
  std::string endpoint() const override { return name_; }

 private:
  FakeEtcd& cluster_;
  const std::string name_;
  const Deliver deliver_;
};

}  // namespace understudy
