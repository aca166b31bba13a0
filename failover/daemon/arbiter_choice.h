// The pair's arbiter as the configuration chooses it: the witness, or etcd.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "failover/arbiter.h"
#include "failover/daemon/config.h"
#include "net/base/event_loop.h"
#include "net/zmq_context.h"

namespace understudy {

// Which it is and where, for a person: "the witness at tcp://10.77.2.3:7003", "etcd at http://10.77.2.3:2379, http://10.77.2.4:2379".
std::string arbiter_name(const DaemonConfig& config);

// Where a node without a third place keeps its own record.
std::filesystem::path manual_store(const DaemonConfig& config);

// On the loop's thread. `config` and `loop` outlive the arbiter.
Result<std::unique_ptr<Arbiter>> make_arbiter(const DaemonConfig& config, EventLoop& loop, std::shared_ptr<ZmqContext> zmq,
                                              NodeIncarnation self);

}  // namespace understudy
