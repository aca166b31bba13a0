// How a node reaches its peer: node a listens, node b connects, on each of the pair's links; and the random names of processes and
// sessions.
#pragma once

#include <random>
#include <string>
#include <string_view>

#include "failover/daemon/config.h"
#include "net/zmq_link.h"

namespace understudy {

// `purpose` tells the pair's links apart; equal on both nodes.
inline ZmqLinkConfig peer_link(const DaemonConfig& config, const LinkConfig& endpoints, std::string_view purpose,
                               std::size_t queue_messages, std::size_t max_frame_bytes) {
  const bool listens = config.pair.node == NodeId::kA;
  const auto name = [&](NodeId node) { return link_name(config.pair.id, node) + "/" + std::string{purpose}; };
  ZmqLinkConfig link;
  link.side = listens ? ZmqLinkConfig::Side::kBind : ZmqLinkConfig::Side::kConnect;
  link.endpoint = listens ? endpoints.bind : endpoints.peer;
  link.local_name = name(config.pair.node);
  link.peer_name = name(peer_of(config.pair.node));
  link.keys = peer_keys(config.security);
  link.queue_messages = queue_messages;
  link.max_frame_bytes = max_frame_bytes;
  return link;
}

// An Incarnation or Session that was never used before, and is not 0.
template <class Id>
Id random_id() {
  std::random_device entropy;
  std::uint64_t raw = 0;
  while (raw == 0) raw = std::uint64_t{entropy()} << 32 | entropy();
  return Id{raw};
}

}  // namespace understudy
