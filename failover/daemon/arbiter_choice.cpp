#include "failover/daemon/arbiter_choice.h"

#include "failover/etcd_arbiter.h"
#include "failover/manual_arbiter.h"
#include "failover/witness_client.h"
#include "failover/witness_store.h"

namespace understudy {

namespace {
constexpr Duration kWitnessTimeout = std::chrono::milliseconds{300};
}  // namespace

std::filesystem::path manual_store(const DaemonConfig& config) { return config.state_dir / "record"; }

std::string arbiter_name(const DaemonConfig& config) {
  if (config.manual) return "this node's own record (no third place: operators grant)";
  if (!config.etcd) return "the witness at " + config.witness;
  std::string endpoints;
  for (const auto& endpoint : config.etcd->endpoints) endpoints += (endpoints.empty() ? "" : ", ") + endpoint.text();
  return "etcd at " + endpoints;
}

Result<std::unique_ptr<Arbiter>> make_arbiter(const DaemonConfig& config, EventLoop& loop, std::shared_ptr<ZmqContext> zmq,
                                              NodeIncarnation self) {
  if (config.manual) {
    US_ASSIGN(auto store, WitnessStore::open(manual_store(config), WitnessStore::Open::kNew));
    US_ASSIGN(auto manual, ManualArbiter::create(loop, std::move(store), config.pair.id));
    return std::unique_ptr<Arbiter>{std::move(manual)};
  }
  if (config.etcd) {
    US_ASSIGN(auto store, EtcdStore::open(*config.etcd, config.pair.id, loop.clock()));
    return std::unique_ptr<Arbiter>{EtcdArbiter::create(loop, std::move(store))};
  }
  const WitnessClientConfig witness{
      .endpoint = config.witness, .keys = witness_keys(config.security), .pair = config.pair.id, .self = self, .timeout = kWitnessTimeout};
  US_ASSIGN(auto client, WitnessClient::create(loop, std::move(zmq), witness));
  return std::unique_ptr<Arbiter>{std::move(client)};
}

}  // namespace understudy
