// `understudy keygen` and `understudy pair`: a host's key, and the other host's. Blocking; for a person at a terminal.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "net/base/clock.h"
#include "net/base/result.h"
#include "net/curve_key.h"

namespace understudy {

// Makes a key in a new file, and returns its public key. Errors: save_secret_key()'s.
Result<CurvePublicKey> make_key_file(const std::filesystem::path& path);

struct PairOptions {
  std::filesystem::path key_file;
  // One of them: a ZeroMQ endpoint, "tcp://*:7009" or "tcp://10.77.1.1:7009".
  std::string listen;
  std::string connect;
  Duration timeout = std::chrono::minutes{5};  // of everything, the persons' comparison included
  // Where it listens, once it does, with the real port.
  std::function<void(const std::string& endpoint)> listening = [](const std::string&) {};
};

// Asks a person whether the other host shows the same code, until `give_up`.
using SameCode = std::function<Result<bool>(const std::string& code, Instant give_up)>;

// Exchanges keys with the other host, once: after any failure both ends start anew. Returns the other's key, which the person has
// confirmed. kTimeout; kRefused when the codes differ or the exchange was tampered with; kInvalid for an endpoint; the key file's errors.
Result<CurvePublicKey> exchange_keys(const PairOptions& options, const SameCode& same_code, const Clock& clock);

// The same question on a terminal: `fd` for the answer, the question on standard error.
Result<bool> ask_for_same_code(int fd, const std::string& code, Instant give_up, const Clock& clock);

}  // namespace understudy
