#include "failover/daemon/security.h"

#include <algorithm>

#include <fmt/format.h>

#include "failover/daemon/toml_section.h"
#include "net/base/check.h"

namespace understudy {

namespace {

Result<std::optional<CurvePublicKey>> read_key(TomlSection& in, std::string_view key) {
  US_ASSIGN(const auto text, in.optional_text(key));
  if (!text) return std::optional<CurvePublicKey>{};
  const auto parsed = CurvePublicKey::parse(*text);
  if (!parsed)
    return in.at(key, fmt::format("expected a public key of 40 characters, as `understudy keygen` prints it, found \"{}\"", *text));
  return std::optional{*parsed};
}

std::optional<LinkKeys> keys_for(const SecurityConfig& security, const std::optional<CurvePublicKey>& other) {
  if (security.insecure) return std::nullopt;
  US_CHECK(security.own && other);
  return LinkKeys{*security.own, *other};
}

}  // namespace

Result<void> read_security(std::optional<TomlSection> in, std::string_view file, bool has_witness, SecurityConfig& out) {
  if (!in)
    return Error{ErrorCode::kInvalid,
                 fmt::format("{}: expected a table [security] with key, peer_key{}: make this node's key with `understudy "
                             "keygen FILE`, and learn the peer's with `understudy pair`",
                             file, has_witness ? " and witness_key" : "")};
  US_ASSIGN(out.insecure, in->flag("insecure", false));
  US_ASSIGN(const auto key, in->optional_text("key"));
  US_ASSIGN(out.peer, read_key(*in, "peer_key"));
  US_ASSIGN(out.witness, read_key(*in, "witness_key"));
  US_TRY(in->nothing_else());
  if (out.insecure) {
    if (key || out.peer || out.witness) return in->at("insecure", "expected either keys or insecure = true, found both");
    return {};
  }
  if (!key || key->empty())
    return in->at("key", "expected the file of this node's secret key, found nothing: make it with `understudy keygen FILE`");
  out.key_file = *key;
  if (!out.peer) return in->at("peer_key", "expected the peer's public key, found nothing: `understudy pair` on both hosts exchanges them");
  if (has_witness && !out.witness)
    return in->at("witness_key", "expected the witness's public key, found nothing: `understudy keygen` printed it there");
  if (!has_witness && out.witness) return in->at("witness_key", "is for a [witness], and this pair has none");
  if (out.witness == out.peer) return in->at("witness_key", "is the peer's key: each has one of its own");
  return {};
}

Result<void> read_control(TomlSection in, ControlConfig& out) {
  for (const auto& [key, list] : {std::pair{"operators", &out.operators}, std::pair{"viewers", &out.viewers}}) {
    US_ASSIGN(*list, in.optional_texts(key, 64));
    if (std::ranges::any_of(*list, [](const std::string& name) { return name.empty() || name == "@"; }))
      return in.at(key, "expected users by name, and groups as \"@name\"");
  }
  return in.nothing_else();
}

Result<void> load_key(SecurityConfig& security) {
  if (security.insecure) return {};
  auto own = load_secret_key(security.key_file);
  if (!own) return std::move(own.error()).within("[security] key");
  const auto published = own->public_key();
  for (const auto& [name, key] : {std::pair{"peer_key", security.peer}, std::pair{"witness_key", security.witness}}) {
    if (key == published)
      return Error{ErrorCode::kInvalid, fmt::format("[security] {} is the public key of {} itself: expected the other side's", name,
                                                    security.key_file.string())};
  }
  security.own = *own;
  return {};
}

std::optional<LinkKeys> peer_keys(const SecurityConfig& security) { return keys_for(security, security.peer); }
std::optional<LinkKeys> witness_keys(const SecurityConfig& security) { return keys_for(security, security.witness); }

}  // namespace understudy
