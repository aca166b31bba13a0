#include "checkpoint/manifest.h"

#include <algorithm>
#include <array>
#include <string>

#include <xxhash.h>

#include "checkpoint/flat_message.h"
#include "checkpoint/manifest.capnp.h"

namespace understudy {
namespace {

constexpr std::uint64_t kPagesKind = 1;
constexpr std::uint64_t kDiskKind = 2;

bool printable(char c) { return static_cast<unsigned char>(c) >= 0x20 && c != 0x7F; }

template <std::size_t N>
std::uint64_t hash_of(const std::array<std::uint64_t, N>& numbers) {
  return XXH3_64bits(numbers.data(), sizeof numbers);
}

}  // namespace

void EpochDigest::fold(std::uint64_t kind, std::uint64_t checksum) {
  running_ = hash_of(std::array<std::uint64_t, 4>{running_, kind, counts_.part_count, checksum});
  ++counts_.part_count;
}

void EpochDigest::add_pages(std::uint64_t checksum, std::size_t pages, std::size_t zero_pages) {
  fold(kPagesKind, checksum);
  counts_.page_count += pages;
  counts_.zero_page_count += zero_pages;
}

void EpochDigest::add_disk_writes(std::uint64_t checksum, std::size_t writes, std::uint64_t bytes) {
  fold(kDiskKind, checksum);
  counts_.disk_write_count += writes;
  counts_.disk_bytes += bytes;
}

Manifest EpochDigest::close(Term term, Epoch epoch, Epoch base, std::span<const std::byte> state, std::string_view ended) const {
  Manifest manifest = counts_;
  manifest.term = term;
  manifest.epoch = epoch;
  manifest.base = base;
  manifest.state_bytes = static_cast<std::uint32_t>(state.size());
  manifest.digest = hash_of(std::array<std::uint64_t, 12>{
      running_, kManifestVersion, term.raw(), epoch.raw(), base.raw(), manifest.part_count, manifest.page_count, manifest.zero_page_count,
      manifest.disk_write_count, manifest.disk_bytes, state.size(), XXH3_64bits(state.data(), state.size())});
  if (ended.empty()) return manifest;
  manifest.ended = ended.substr(0, kMaxEndBytes);
  std::ranges::replace_if(
      manifest.ended, [](char c) { return !printable(c); }, '?');
  manifest.digest = hash_of(std::array<std::uint64_t, 2>{manifest.digest, XXH3_64bits(manifest.ended.data(), manifest.ended.size())});
  return manifest;
}

std::vector<std::byte> encode_manifest(const Manifest& manifest) {
  return flat_message::write<schema::Manifest>([&](schema::Manifest::Builder out) {
    out.setVersion(kManifestVersion);
    out.setTerm(manifest.term.raw());
    out.setEpoch(manifest.epoch.raw());
    out.setBase(manifest.base.raw());
    out.setPartCount(manifest.part_count);
    out.setPageCount(manifest.page_count);
    out.setZeroPageCount(manifest.zero_page_count);
    out.setDiskWriteCount(manifest.disk_write_count);
    out.setDiskBytes(manifest.disk_bytes);
    out.setStateBytes(manifest.state_bytes);
    out.setDigest(manifest.digest);
    if (!manifest.ended.empty()) out.setEnded(capnp::Text::Reader{manifest.ended.c_str(), manifest.ended.size()});
  });
}

Result<Manifest> decode_manifest(std::span<const std::byte> payload) {
  auto manifest = flat_message::read<schema::Manifest>(payload, [](schema::Manifest::Reader in) -> Result<Manifest> {
    if (in.getVersion() != kManifestVersion)
      return Error{ErrorCode::kUnsupportedVersion,
                   "version " + std::to_string(in.getVersion()) + "; this release reads version " + std::to_string(kManifestVersion)};
    Manifest out;
    out.term = Term{in.getTerm()};
    out.epoch = Epoch{in.getEpoch()};
    out.base = Epoch{in.getBase()};
    out.part_count = in.getPartCount();
    out.page_count = in.getPageCount();
    out.zero_page_count = in.getZeroPageCount();
    out.disk_write_count = in.getDiskWriteCount();
    out.disk_bytes = in.getDiskBytes();
    out.state_bytes = in.getStateBytes();
    out.digest = in.getDigest();
    out.ended = std::string_view{in.getEnded().begin(), in.getEnded().size()};
    if (out.ended.size() > kMaxEndBytes || !std::ranges::all_of(out.ended, printable))
      return Error{ErrorCode::kCorrupt, "a guest's end told in " + std::to_string(out.ended.size()) + " bytes: at most " +
                                            std::to_string(kMaxEndBytes) + " printable ones are read"};
    if (out.epoch.raw() == 0 || out.base >= out.epoch)
      return Error{ErrorCode::kCorrupt, "epoch " + std::to_string(out.epoch.raw()) + " on base " + std::to_string(out.base.raw())};
    return out;
  });
  if (!manifest) return std::move(manifest.error()).within("manifest");
  return manifest;
}

}  // namespace understudy
