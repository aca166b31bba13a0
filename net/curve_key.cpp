#include "net/curve_key.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <fcntl.h>
#include <sodium.h>
#include <unistd.h>

#include <sys/stat.h>
#include <zmq.h>

#include "net/base/check.h"
#include "net/base/unique_fd.h"

namespace understudy {

namespace {

constexpr std::size_t kTextBytes = 40;
constexpr std::size_t kMaxFileBytes = 4096;
constexpr std::string_view kHeader = "understudy secret key 1\n";
constexpr std::string_view kSecret = "secret ";
constexpr std::string_view kPublic = "public ";

void initialise() { US_CHECK(sodium_init() >= 0); }

std::string encode_z85(const CurveKeyBytes& bytes) {
  std::array<char, kTextBytes + 1> text{};
  US_CHECK(zmq_z85_encode(text.data(), bytes.data(), bytes.size()) != nullptr);
  return text.data();
}

// Only what encodes to the same text again: libzmq's decoder takes groups above 2^32 too.
std::optional<CurveKeyBytes> decode_z85(std::string_view text) {
  // Its table begins at the space and ends before 0x80.
  if (text.size() != kTextBytes || !std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7f; })) return std::nullopt;
  CurveKeyBytes bytes{};
  if (zmq_z85_decode(bytes.data(), std::string{text}.c_str()) == nullptr || encode_z85(bytes) != text) return std::nullopt;
  return bytes;
}

// Takes "<label><key>\n" from the front.
std::optional<CurveKeyBytes> take_line(std::string_view& content, std::string_view label) {
  if (!content.starts_with(label)) return std::nullopt;
  content.remove_prefix(label.size());
  const auto key = decode_z85(content.substr(0, kTextBytes));
  if (!key || content.size() <= kTextBytes || content[kTextBytes] != '\n') return std::nullopt;
  content.remove_prefix(kTextBytes + 1);
  return key;
}

Result<void> check_ownership(int fd, const std::string& path) {
  const std::string name = "the key file " + path;
  struct stat found {};
  if (::fstat(fd, &found) < 0) return Error::from_errno("look at " + name);
  if (!S_ISREG(found.st_mode)) return Error{ErrorCode::kInvalid, name + " is no file"};
  if (found.st_uid != 0 && found.st_uid != ::geteuid())
    return Error{ErrorCode::kRefused, name + " belongs to another user: chown it to the one who runs this"};
  if ((found.st_mode & (S_IRWXG | S_IRWXO)) != 0)
    return Error{ErrorCode::kRefused,
                 name + " may be used by others than its owner: chmod 600 " + path + ", and if others have read it, make a new key"};
  return {};
}

}  // namespace

std::optional<CurvePublicKey> CurvePublicKey::parse(std::string_view z85) {
  const auto bytes = decode_z85(z85);
  if (!bytes) return std::nullopt;
  return CurvePublicKey{*bytes};
}

std::string CurvePublicKey::text() const { return encode_z85(bytes_); }

CurveSecretKey CurveSecretKey::generate() {
  initialise();
  CurveKeyBytes secret{};
  CurveKeyBytes derived{};
  do {
    US_CHECK(crypto_box_keypair(derived.data(), secret.data()) == 0);
  } while (std::isalnum(static_cast<unsigned char>(encode_z85(derived).front())) == 0);
  const CurveSecretKey key{secret};
  sodium_memzero(secret.data(), secret.size());
  return key;
}

CurveSecretKey::~CurveSecretKey() { sodium_memzero(bytes_.data(), bytes_.size()); }

CurvePublicKey CurveSecretKey::public_key() const {
  CurveKeyBytes derived{};
  US_CHECK(crypto_scalarmult_base(derived.data(), bytes_.data()) == 0);
  return CurvePublicKey{derived};
}

Result<CurveSecretKey> CurveSecretKey::parse_file(std::string_view content) {
  if (!content.starts_with(kHeader)) return Error{ErrorCode::kInvalid, "not a key file of `understudy keygen`"};
  content.remove_prefix(kHeader.size());
  const auto secret = take_line(content, kSecret);
  const auto published = secret ? take_line(content, kPublic) : std::nullopt;
  if (!published || !content.empty()) return Error{ErrorCode::kInvalid, "a key file of `understudy keygen`, but damaged"};
  const CurveSecretKey key{*secret};
  if (key.public_key() != CurvePublicKey{*published})
    return Error{ErrorCode::kInvalid, "damaged: its public key is not that of its secret key"};
  return key;
}

std::string CurveSecretKey::file_content() const {
  return std::string{kHeader} + std::string{kSecret} + encode_z85(bytes_) + '\n' + std::string{kPublic} + public_key().text() + '\n';
}

Result<CurveSecretKey> load_secret_key(const std::filesystem::path& path) {
  const std::string name = "the key file " + path.string();
  const UniqueFd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)};
  if (!fd && errno == ENOENT)
    return Error{ErrorCode::kUnavailable, name + " is not there: make it with `understudy keygen " + path.string() + "`"};
  if (!fd) return Error::from_errno("open " + name);
  US_TRY(check_ownership(fd.get(), path.string()));
  std::string content(kMaxFileBytes, '\0');
  const auto got = ::read(fd.get(), content.data(), content.size());
  if (got < 0) return Error::from_errno("read " + name);
  content.resize(static_cast<std::size_t>(got));
  auto key = CurveSecretKey::parse_file(content);
  sodium_memzero(content.data(), content.size());
  if (!key) return std::move(key.error()).within(name);
  return key;
}

Result<void> save_secret_key(const std::filesystem::path& path, const CurveSecretKey& key) {
  const std::string name = "the key file " + path.string();
  const UniqueFd fd{::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR)};
  if (!fd && errno == EEXIST)
    return Error{ErrorCode::kRefused, name + " exists: a key in use is never overwritten; move it away, or name another file"};
  if (!fd) return Error::from_errno("make " + name);
  std::string content = key.file_content();
  const auto written = ::write(fd.get(), content.data(), content.size());
  const bool whole = written == static_cast<ssize_t>(content.size());
  sodium_memzero(content.data(), content.size());
  if (!whole) return Error::from_errno("write " + name, written < 0 ? errno : ENOSPC);
  if (::fsync(fd.get()) < 0) return Error::from_errno("write " + name);
  return {};
}

}  // namespace understudy
