#include "checkpoint/page_batch.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#define XXH_STATIC_LINKING_ONLY  // a hash state on the stack; the library is still linked dynamically
#include <xxhash.h>

#include "checkpoint/flat_message.h"
#include "checkpoint/manifest.capnp.h"
#include "net/base/check.h"

namespace understudy {
namespace {

// A hash over numbers and bytes; numbers as 8 bytes, little-endian (as every host that runs this is).
class Hasher {
 public:
  Hasher() { XXH3_64bits_reset(&state_); }
  void add(std::uint64_t number) { XXH3_64bits_update(&state_, &number, sizeof number); }
  void add(std::span<const std::byte> bytes) { XXH3_64bits_update(&state_, bytes.data(), bytes.size()); }
  std::uint64_t value() const { return XXH3_64bits_digest(&state_); }

 private:
  XXH3_state_t state_;
};

constexpr std::uint64_t kPagesTag = 0x7061'6765'7331;  // "pages1"
constexpr std::uint64_t kDiskTag = 0x6469'736b'3031;   // "disk01"

std::uint64_t checksum_of(std::uint32_t sequence, std::span<const std::uint32_t> pages, std::span<const std::uint32_t> zero_pages,
                          std::span<const std::byte> contents) {
  Hasher hash;
  hash.add(kPagesTag);
  hash.add(sequence);
  hash.add(pages.size());
  hash.add(zero_pages.size());
  hash.add(std::as_bytes(pages));
  hash.add(std::as_bytes(zero_pages));
  hash.add(contents);
  return hash.value();
}

std::uint64_t checksum_of(std::uint32_t sequence, std::span<const DiskWrite> writes) {
  Hasher hash;
  hash.add(kDiskTag);
  hash.add(sequence);
  hash.add(writes.size());
  for (const DiskWrite& write : writes) {
    hash.add(write.disk);
    hash.add(write.offset_bytes);
    hash.add(write.length_bytes);
    hash.add(write.zeros ? 1 : 0);
    hash.add(write.data.bytes);
  }
  return hash.value();
}

bool is_zero_page(const std::byte* page) {
  // Equal to itself shifted by one, and beginning with zero: memcmp is the fastest loop at hand.
  return page[0] == std::byte{0} && std::memcmp(page, page + 1, kPageSizeBytes - 1) == 0;
}

EncodedPart make_part(std::uint32_t sequence, std::span<const std::uint32_t> pages, std::span<const std::uint32_t> zero_pages,
                      OwnedBytes contents) {
  EncodedPart part;
  part.checksum = checksum_of(sequence, pages, zero_pages, contents.bytes);
  part.pages = pages.size() + zero_pages.size();
  part.zero_pages = zero_pages.size();
  part.bulk_bytes = contents.bytes.size();
  part.payload = flat_message::write<schema::PageBatch>([&](schema::PageBatch::Builder out) {
    out.setSequence(sequence);
    out.setPages(kj::arrayPtr(pages.data(), pages.size()));
    out.setZeroPages(kj::arrayPtr(zero_pages.data(), zero_pages.size()));
    out.setChecksum(part.checksum);
  });
  if (!pages.empty()) part.bulk.push_back(std::move(contents));
  return part;
}

Error corrupt(const std::string& text) { return Error{ErrorCode::kCorrupt, text}; }

// A list of page numbers, ascending and inside the image.
Result<std::vector<std::uint32_t>> read_pages(const char* name, capnp::List<std::uint32_t>::Reader list, std::size_t page_count) {
  std::vector<std::uint32_t> out;
  out.reserve(list.size());
  for (const std::uint32_t page : list) {
    if (page >= page_count)
      return corrupt(std::string{name} + ": page " + std::to_string(page) + " of an image of " + std::to_string(page_count));
    if (!out.empty() && page <= out.back())
      return corrupt(std::string{name} + ": page " + std::to_string(page) + " after " + std::to_string(out.back()) + ": not ascending");
    out.push_back(page);
  }
  return out;
}

// Whether the page must travel; `hot` counts it.
bool is_new(std::uint32_t page, std::span<const std::byte, kPageSizeBytes> content, HotPages* hot) {
  if (hot == nullptr) return true;
  if (const std::byte* const base = hot->base(page); base != nullptr && std::memcmp(base, content.data(), kPageSizeBytes) == 0) {
    hot->unchanged(page);
    return false;
  }
  hot->changed(page, content);
  return true;
}

}  // namespace

std::vector<EncodedPart> encode_pages(StagedPages staged, std::size_t max_pages, std::uint32_t first_sequence, HotPages* hot) {
  US_CHECK(max_pages > 0 && max_pages <= kMaxBatchPages && staged.pages.size() <= staged.buffer.capacity_pages());
  std::vector<EncodedPart> parts;
  parts.reserve(staged.pages.size() / max_pages + staged.zero_pages.size() / kMaxBatchPages + 2);
  std::byte* const buffer = staged.buffer.bytes().data();
  std::vector<std::uint32_t> pages;
  std::vector<std::uint32_t> zero_pages;
  for (std::size_t from = 0; from < staged.pages.size(); from += max_pages) {
    const std::size_t to = std::min(from + max_pages, staged.pages.size());
    pages.clear();
    zero_pages.clear();
    std::byte* out = buffer + from * kPageSizeBytes;
    const std::byte* const contents = out;
    for (std::size_t i = from; i < to; ++i) {
      const std::byte* const page = buffer + i * kPageSizeBytes;
      if (!is_new(staged.pages[i], std::span<const std::byte, kPageSizeBytes>{page, kPageSizeBytes}, hot)) continue;
      if (is_zero_page(page)) {
        zero_pages.push_back(staged.pages[i]);
        continue;
      }
      if (out != page) std::memcpy(out, page, kPageSizeBytes);  // whole pages apart: never overlapping
      out += kPageSizeBytes;
      pages.push_back(staged.pages[i]);
    }
    if (pages.empty() && zero_pages.empty()) continue;
    const std::span<const std::byte> bytes{contents, static_cast<std::size_t>(out - contents)};
    const auto sequence = first_sequence + static_cast<std::uint32_t>(parts.size());
    parts.push_back(make_part(sequence, pages, zero_pages, OwnedBytes{bytes, staged.buffer.owner()}));
  }
  if (hot != nullptr)
    for (const std::uint32_t page : staged.zero_pages) hot->forget(page);
  for (std::span<const std::uint32_t> left = staged.zero_pages; !left.empty();) {
    const auto known = left.first(std::min(left.size(), kMaxBatchPages));
    parts.push_back(make_part(first_sequence + static_cast<std::uint32_t>(parts.size()), {}, known, {}));
    left = left.subspan(known.size());
  }
  return parts;
}

EncodedPart encode_disk_writes(std::span<const DiskWrite> writes, std::uint32_t sequence) {
  US_CHECK(!writes.empty() && writes.size() <= kMaxBatchWrites);
  EncodedPart part;
  part.checksum = checksum_of(sequence, writes);
  part.payload = flat_message::write<schema::DiskBatch>([&](schema::DiskBatch::Builder out) {
    out.setSequence(sequence);
    out.setChecksum(part.checksum);
    auto list = out.initWrites(static_cast<unsigned>(writes.size()));
    for (unsigned i = 0; i < list.size(); ++i) {
      const DiskWrite& write = writes[i];
      list[i].setDisk(write.disk);
      list[i].setZeros(write.zeros);
      list[i].setLengthBytes(write.length_bytes);
      list[i].setOffsetBytes(write.offset_bytes);
    }
  });
  for (const DiskWrite& write : writes) {
    if (write.zeros) continue;
    part.bulk.push_back(write.data);
    part.bulk_bytes += write.data.bytes.size();
  }
  return part;
}

Result<PageBatch> decode_pages(std::span<const std::byte> payload, std::span<const OwnedBytes> bulk, std::size_t page_count) {
  auto batch = flat_message::read<schema::PageBatch>(payload, [&](schema::PageBatch::Reader in) -> Result<PageBatch> {
    const std::size_t count = std::size_t{in.getPages().size()} + in.getZeroPages().size();
    if (count == 0 || count > kMaxBatchPages)
      return corrupt(std::to_string(count) + " pages; a batch has 1 to " + std::to_string(kMaxBatchPages));
    PageBatch out;
    out.sequence = in.getSequence();
    out.checksum = in.getChecksum();
    US_ASSIGN(out.pages, read_pages("pages", in.getPages(), page_count));
    US_ASSIGN(out.zero_pages, read_pages("zero pages", in.getZeroPages(), page_count));
    return out;
  });
  if (!batch) return std::move(batch.error()).within("page batch");
  std::vector<std::uint32_t> both;
  std::ranges::set_intersection(batch->pages, batch->zero_pages, std::back_inserter(both));
  if (!both.empty()) return corrupt("page batch: page " + std::to_string(both.front()) + " is both zero and not");
  if (bulk.size() != (batch->pages.empty() ? 0 : 1))
    return corrupt("page batch: " + std::to_string(bulk.size()) + " frames with " + std::to_string(batch->pages.size()) + " pages");
  if (!bulk.empty()) batch->contents = bulk.front();
  if (batch->contents.bytes.size() != batch->pages.size() * kPageSizeBytes)
    return corrupt("page batch: " + std::to_string(batch->contents.bytes.size()) + " bytes for " + std::to_string(batch->pages.size()) +
                   " pages");
  const std::uint64_t checksum = checksum_of(batch->sequence, batch->pages, batch->zero_pages, batch->contents.bytes);
  if (checksum != batch->checksum)
    return corrupt("page batch " + std::to_string(batch->sequence) + ": checksum " + std::to_string(checksum) + ", its writer says " +
                   std::to_string(batch->checksum));
  return batch;
}

Result<DiskBatch> decode_disk_writes(std::span<const std::byte> payload, std::span<const OwnedBytes> bulk,
                                     std::span<const std::uint64_t> disk_bytes) {
  auto batch = flat_message::read<schema::DiskBatch>(payload, [&](schema::DiskBatch::Reader in) -> Result<DiskBatch> {
    const auto writes = in.getWrites();
    if (writes.size() == 0 || writes.size() > kMaxBatchWrites)
      return corrupt(std::to_string(writes.size()) + " writes; a batch has 1 to " + std::to_string(kMaxBatchWrites));
    DiskBatch out;
    out.sequence = in.getSequence();
    out.checksum = in.getChecksum();
    out.writes.reserve(writes.size());
    std::size_t frame = 0;
    for (const auto write : writes) {
      DiskWrite one{.disk = write.getDisk(),
                    .offset_bytes = write.getOffsetBytes(),
                    .length_bytes = write.getLengthBytes(),
                    .zeros = write.getZeros(),
                    .data = {}};
      const std::string name = "write of " + std::to_string(one.length_bytes) + " bytes at " + std::to_string(one.offset_bytes) +
                               " of disk " + std::to_string(one.disk);
      if (one.disk >= disk_bytes.size()) return corrupt(name + ": there are " + std::to_string(disk_bytes.size()) + " disks");
      const std::uint32_t most = one.zeros ? kMaxDiskZerosBytes : kMaxDiskWriteBytes;
      if (one.length_bytes == 0 || one.length_bytes > most || one.length_bytes % 512 != 0 || one.offset_bytes % 512 != 0)
        return corrupt(name + ": not whole sectors, or longer than " + std::to_string(most));
      const std::uint64_t capacity = disk_bytes[one.disk];
      if (one.offset_bytes > capacity || one.length_bytes > capacity - one.offset_bytes)
        return corrupt(name + ": beyond its end at " + std::to_string(capacity));
      if (!one.zeros) {
        if (frame >= bulk.size()) return corrupt(name + ": its frame is missing");
        one.data = bulk[frame++];
        if (one.data.bytes.size() != one.length_bytes)
          return corrupt(name + ": its frame has " + std::to_string(one.data.bytes.size()) + " bytes");
      }
      out.writes.push_back(std::move(one));
    }
    if (frame != bulk.size()) return corrupt(std::to_string(bulk.size()) + " frames for " + std::to_string(frame) + " writes with data");
    return out;
  });
  if (!batch) return std::move(batch.error()).within("disk batch");
  const std::uint64_t checksum = checksum_of(batch->sequence, batch->writes);
  if (checksum != batch->checksum)
    return corrupt("disk batch " + std::to_string(batch->sequence) + ": checksum " + std::to_string(checksum) + ", its writer says " +
                   std::to_string(batch->checksum));
  return batch;
}

}  // namespace understudy
