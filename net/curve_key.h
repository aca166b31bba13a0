// Keys of CurveZMQ (https://rfc.zeromq.org/spec/26/): 32 bytes each, written as 40 characters of Z85 (https://rfc.zeromq.org/spec/32/).
// Pure values but for the two that touch files; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "net/base/result.h"

namespace understudy {

using CurveKeyBytes = std::array<std::uint8_t, 32>;

// Who somebody is on a link. No secret.
class CurvePublicKey {
 public:
  explicit CurvePublicKey(const CurveKeyBytes& bytes) : bytes_{bytes} {}
  // nullopt for what is not 40 characters of Z85.
  static std::optional<CurvePublicKey> parse(std::string_view z85);
  std::string text() const;
  const CurveKeyBytes& bytes() const { return bytes_; }
  friend auto operator<=>(const CurvePublicKey&, const CurvePublicKey&) = default;

 private:
  CurveKeyBytes bytes_;
};

// What a node proves itself by. Wiped from memory at its end.
class CurveSecretKey {
 public:
  // Its public key's text begins with a letter or a digit, since Z85 has signs that begin an option ('-'), a remark ('#') or, with --allow,
  // a file's name ('@'): a command line would mistake it.
  static CurveSecretKey generate();
  explicit CurveSecretKey(const CurveKeyBytes& bytes) : bytes_{bytes} {}
  CurveSecretKey(const CurveSecretKey&) = default;
  CurveSecretKey& operator=(const CurveSecretKey&) = default;
  ~CurveSecretKey();

  // A key file's content: three lines, the last of which is the public key, so that a damaged file is found out.
  //   understudy secret key 1
  //   secret <40 characters>
  //   public <40 characters>
  static Result<CurveSecretKey> parse_file(std::string_view content);
  std::string file_content() const;

  CurvePublicKey public_key() const;
  const CurveKeyBytes& bytes() const { return bytes_; }

 private:
  CurveKeyBytes bytes_;
};

// Reads a key file. kUnavailable when there is none; kRefused when others than its owner may read or write it, or somebody else than root
// and this user owns it; kInvalid for its content. Each names the file and the mend.
Result<CurveSecretKey> load_secret_key(const std::filesystem::path& path);
// Writes a new key file, mode 0600, synced. kRefused when the file exists: a key in use is never overwritten.
Result<void> save_secret_key(const std::filesystem::path& path, const CurveSecretKey& key);

// How one end of a link proves itself and knows the other: with `own` against `peer`. Without, links are open: anybody may talk.
struct LinkKeys {
  CurveSecretKey own;
  CurvePublicKey peer;
};
// The same of an end that many connect to.
struct ServiceKeys {
  CurveSecretKey own;
  std::vector<CurvePublicKey> admitted;
};

}  // namespace understudy
