// Somebody on the pair's networks who should not be: what he tries at one listening port, from one of the lab's machines.
//
// Each attempt moves a thread of its own into that machine's network, does its worst, and returns when the port has closed on it or a few
// seconds are over. Whether it was refused is for others to find: the one who listens says so.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "net/base/result.h"
#include "net/curve_key.h"

namespace understudy::lab {

struct Port {
  std::string what;      // "heartbeat"
  std::string endpoint;  // "tcp://10.77.1.1:7002"
  std::string machine;   // from where it is reached
  CurvePublicKey key;    // of who listens: it is no secret
};

enum class Attempt : std::uint8_t {
  kWrongKey,   // encrypted, with a key of the intruder's own
  kNoKey,      // a node without any
  kRandom,     // bytes
  kOversized,  // a handshake with a frame of 4 EiB
  kReplay,     // what the rightful peer once sent, its handshake included, again
};
std::vector<Attempt> all_attempts();
const char* name_of(Attempt attempt);

// `rightful`: a key that the port admits, for the stream that is recorded and replayed; used for nothing else. An error: it could not even
// be tried.
Result<void> try_at(const Port& port, Attempt attempt, const CurveSecretKey& rightful);

}  // namespace understudy::lab
