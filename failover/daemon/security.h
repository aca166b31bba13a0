// [security] and [control]: by which keys this node's links prove themselves, and which users of this host may steer it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "net/base/result.h"
#include "net/curve_key.h"

namespace understudy {

class TomlSection;

struct SecurityConfig {
  bool insecure = false;           // links without keys: anybody on their network may pose as the peer or the witness
  std::filesystem::path key_file;  // this node's secret key
  std::optional<CurvePublicKey> peer;
  std::optional<CurvePublicKey> witness;  // none with an etcd
  std::optional<CurveSecretKey> own;      // read from key_file by load_key()
};

struct ControlConfig {
  // Users by name, groups as "@name". Root and the daemon's own user are operators in any case.
  std::vector<std::string> operators;
  std::vector<std::string> viewers;
};

// Reads the table; `file` stands in the errors, `has_witness`: a witness is the pair's arbiter.
Result<void> read_security(std::optional<TomlSection> in, std::string_view file, bool has_witness, SecurityConfig& out);
Result<void> read_control(TomlSection in, ControlConfig& out);

// Reads the key file, unless insecure. kInvalid when it is the peer's or the witness's key, else load_secret_key()'s errors.
Result<void> load_key(SecurityConfig& security);

// nullopt: insecure. load_key() was successful.
std::optional<LinkKeys> peer_keys(const SecurityConfig& security);
std::optional<LinkKeys> witness_keys(const SecurityConfig& security);

}  // namespace understudy
