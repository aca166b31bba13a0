#include "vmm/devices/blk/blk.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>

#include "vmm/devices/blk/state.capnp.h"
#include "vmm/devices/saved_state.h"

namespace understudy {
namespace {

constexpr unsigned kBlkQueues = 1;
constexpr std::size_t kRequestHeaderBytes = sizeof(virtio_blk_outhdr);
static_assert(kRequestHeaderBytes == 16);
static_assert(sizeof(virtio_blk_discard_write_zeroes) == 16);

// The device's limits, the same on every host: they are in the configuration space, which a guest keeps over a takeover.
constexpr std::uint32_t kMaxSegmentBytes = 1 << 20;
constexpr std::uint64_t kMaxRequestBytes = std::uint64_t{kBlkMaxSegments} * kMaxSegmentBytes;  // copied whole when written
constexpr std::uint32_t kMaxExtentSectors = (128 << 20) / BlockBackend::kSectorBytes;
// The topology of most storage below: blocks of 4 KiB.
constexpr unsigned kPhysicalBlockExponent = 3;
constexpr std::uint32_t kPhysicalBlockSectors = 1 << kPhysicalBlockExponent;

// Completions taken in one turn at most: so many calls of so many.
constexpr unsigned kReapCalls = 8;
constexpr std::size_t kReapBatch = 64;
// How long a device that goes away waits for the backend to let go of guest memory.
constexpr auto kAbandonPatience = std::chrono::seconds{1};

constexpr std::uint64_t bit(unsigned feature) { return std::uint64_t{1} << feature; }

// Nothing here depends on the host: what its storage can't, the backend does in another way.
std::uint64_t features(bool read_only) {
  const std::uint64_t common = bit(VIRTIO_BLK_F_SIZE_MAX) | bit(VIRTIO_BLK_F_SEG_MAX) | bit(VIRTIO_BLK_F_BLK_SIZE) |
                               bit(VIRTIO_BLK_F_FLUSH) | bit(VIRTIO_BLK_F_TOPOLOGY);
  return common | (read_only ? bit(VIRTIO_BLK_F_RO) : bit(VIRTIO_BLK_F_DISCARD) | bit(VIRTIO_BLK_F_WRITE_ZEROES));
}

// 5.2.4. Zero where not set, the padding too (5.2.5.2).
std::vector<std::byte> config_space(std::uint64_t capacity_bytes, bool read_only) {
  virtio_blk_config config{};
  config.capacity = capacity_bytes / BlockBackend::kSectorBytes;
  config.size_max = kMaxSegmentBytes;
  config.seg_max = kBlkMaxSegments;
  config.blk_size = BlockBackend::kSectorBytes;
  config.physical_block_exp = kPhysicalBlockExponent;
  config.min_io_size = kPhysicalBlockSectors;
  if (!read_only) {
    config.max_discard_sectors = config.max_write_zeroes_sectors = kMaxExtentSectors;
    config.max_discard_seg = config.max_write_zeroes_seg = kBlkMaxExtents;
    config.discard_sector_alignment = kPhysicalBlockSectors;
    config.write_zeroes_may_unmap = 1;
  }
  const auto bytes = std::as_bytes(std::span{&config, 1});
  return {bytes.begin(), bytes.end()};
}

// The last byte that the device may write: the status (5.2.6).
GuestPhysicalAddress status_address_of(const Chain& chain) {
  const auto writable = chain.writable();
  const auto last = std::find_if(writable.rbegin(), writable.rend(), [](const Segment& segment) { return segment.length > 0; });
  return GuestPhysicalAddress{last->address.raw() + last->length - 1};
}

// Cuts [skip, skip + length) out of `from`, as far as there is room; nullopt when there is not.
std::optional<std::uint16_t> cut(std::span<const Segment> from, std::uint64_t skip, std::uint64_t length, std::span<Segment> into) {
  std::uint16_t count = 0;
  for (const Segment& segment : from) {
    const std::uint64_t skipped = std::min<std::uint64_t>(skip, segment.length);
    const std::uint64_t taken = std::min<std::uint64_t>(length, segment.length - skipped);
    skip -= skipped;
    length -= taken;
    if (taken == 0) continue;
    if (count == into.size()) return std::nullopt;
    into[count++] = {GuestPhysicalAddress{segment.address.raw() + skipped}, static_cast<std::uint32_t>(taken)};
  }
  return count;
}

// Copies out.size() bytes of `from`, of which there are so many, from `skip` on.
void gather(const GuestMemory& memory, std::span<const Segment> from, std::uint64_t skip, MutableBytes out) {
  for (const Segment& segment : from) {
    const std::uint64_t skipped = std::min<std::uint64_t>(skip, segment.length);
    const std::size_t length = std::min<std::uint64_t>(out.size(), segment.length - skipped);
    skip -= skipped;
    if (length == 0) continue;
    US_CHECK(memory.read(GuestPhysicalAddress{segment.address.raw() + skipped}, out.first(length)));
    out = out.subspan(length);
  }
  US_CHECK(out.empty());
}

}  // namespace

Result<std::unique_ptr<Blk>> Blk::create(VirtioSlot slot, std::shared_ptr<BlockBackend> backend) {
  if (backend == nullptr) return Error{ErrorCode::kInvalid, "device " + slot.id + ": no block backend was given"};
  if (backend->capacity_bytes() == 0 || backend->capacity_bytes() % BlockBackend::kSectorBytes != 0)
    return Error{ErrorCode::kInvalid, "device " + slot.id + ": its disk has " + std::to_string(backend->capacity_bytes()) +
                                          " bytes; give a multiple of 512, not zero"};
  US_ASSIGN(auto host, make_host(kBlkQueues));
  return std::unique_ptr<Blk>{new Blk{std::move(slot), std::move(host), std::move(backend)}};
}

Blk::Blk(VirtioSlot slot, Host host, std::shared_ptr<BlockBackend> backend)
    : VirtioMmio{std::move(slot),
                 std::move(host),
                 {.device_type = VIRTIO_ID_BLOCK,
                  .features = features(backend->read_only()),
                  .config_space = config_space(backend->capacity_bytes(), backend->read_only())}},
      backend_{std::move(backend)},
      capacity_bytes_{backend_->capacity_bytes()},
      read_only_{backend_->read_only()},
      completions_{loop(), backend_->completion_fd(), [this] { reap(); }} {}

std::optional<Instant> Blk::oldest_request() const {
  const std::int64_t since_ns = oldest_ns_.load(std::memory_order_relaxed);
  if (since_ns == 0) return std::nullopt;
  return Instant{Duration{since_ns}};
}

void Blk::work(unsigned) { pump(); }

// Hands over all that the driver made available, as far as the backend has room.
void Blk::pump() {
  Virtqueue& ring = queue(0);
  ring.disable_notifications();
  // Each turn round takes one of at most kMaxQueueSize available chains, or ends; chains answered at once are not visible to the driver
  // before publish(), so it cannot feed this loop for ever.
  bool room = submit_waiting();
  for (unsigned budget = kMaxQueueSize; room; --budget) {
    if (budget == 0) {
      work_again(0);
      break;
    }
    const Pop popped = ring.pop(chain_);
    if (popped == Pop::kEmpty) {
      if (ring.enable_notifications()) continue;
      break;
    }
    if (popped == Pop::kBroken) {
      fail("request queue", ring.error());
      break;
    }
    const Parsed parsed = parse_request(chain_);
    if (parsed == Parsed::kBroken) break;
    if (parsed == Parsed::kAnswered) continue;
    requests_.add(chain_.head);
    room = submit_waiting();  // if not: it waits in the table for a completion, ahead of what the ring holds
  }
  publish(0);
  note_oldest();
}

bool Blk::submit_waiting() {
  while (requests_.first_waiting() != RequestTable::kNone) {
    const std::uint16_t head = requests_.first_waiting();
    if (!submit(head)) return false;
    requests_.submitted(head, loop().clock().now());
  }
  return true;
}

bool Blk::submit(std::uint16_t head) {
  const BlkRequest& request = requests_.request(head);
  std::array<MutableBytes, std::tuple_size_v<decltype(request.segments)>> pieces;
  for (std::size_t i = 0; i < request.segment_count; ++i) {
    const Segment& segment = request.segments[i];
    pieces[i] = *memory().at(segment.address, segment.length);
  }
  return backend_->submit({.operation = request.operation,
                           .offset_bytes = request.offset_bytes,
                           .memory = std::span{pieces}.first(request.segment_count),
                           .cookie = head,
                           .extents = request.zeros(),
                           .keep_space = request.keep_space,
                           // 5.2.6.2: a driver that knows no flush takes a completed write for stable.
                           .stable = !negotiated(VIRTIO_BLK_F_FLUSH)});
}

Blk::Parsed Blk::parse_request(const Chain& chain) {
  const auto broken = [&](const char* why) {
    fail("request queue", why);
    return Parsed::kBroken;
  };
  if (chain.readable_bytes < kRequestHeaderBytes) return broken("a request without a whole header");
  if (chain.writable_bytes == 0) return broken("a request without a status byte");
  if (requests_.contains(chain.head)) return broken("a chain that is in flight was made available again");

  virtio_blk_outhdr header;
  gather(memory(), chain.readable(), 0, std::as_writable_bytes(std::span{&header, 1}));
  const GuestPhysicalAddress status_address = status_address_of(chain);
  const auto answered = [&](std::uint8_t status, std::uint32_t data_bytes = 0) {
    answer(chain, status_address, status, data_bytes);
    return Parsed::kAnswered;
  };

  BlkRequest& request = requests_.prepare(chain.head);
  request.offset_bytes = request.data_bytes = request.segment_count = request.extent_count = 0;
  request.status_address = status_address;
  const std::uint64_t writable_data = chain.writable_bytes - 1;
  std::optional<std::uint16_t> cuts;
  switch (header.type) {
    case VIRTIO_BLK_T_IN:
      request.operation = BlockOperation::kRead;
      request.data_bytes = writable_data;
      cuts = cut(chain.writable(), 0, request.data_bytes, request.segments);
      break;
    case VIRTIO_BLK_T_OUT:
      request.operation = BlockOperation::kWrite;
      request.data_bytes = chain.readable_bytes - kRequestHeaderBytes;
      cuts = cut(chain.readable(), kRequestHeaderBytes, request.data_bytes, request.segments);
      break;
    case VIRTIO_BLK_T_FLUSH:
      request.operation = BlockOperation::kFlush;
      return Parsed::kSubmit;
    case VIRTIO_BLK_T_DISCARD:
    case VIRTIO_BLK_T_WRITE_ZEROES: {
      const auto status = parse_zeros(chain, header.type, request);
      return status ? answered(*status) : Parsed::kSubmit;
    }
    case VIRTIO_BLK_T_GET_ID:
      cuts = cut(chain.writable(), 0, writable_data, request.segments);
      return cuts ? answered(VIRTIO_BLK_S_OK, write_serial_number(std::span{request.segments}.first(*cuts))) : answered(VIRTIO_BLK_S_IOERR);
    default:
      return answered(VIRTIO_BLK_S_UNSUPP);
  }
  const bool whole = request.data_bytes % BlockBackend::kSectorBytes == 0 && request.data_bytes <= kMaxRequestBytes;
  if (!cuts || !whole || !inside(header.sector, request.data_bytes)) return answered(VIRTIO_BLK_S_IOERR);
  if (read_only_ && request.operation == BlockOperation::kWrite) return answered(VIRTIO_BLK_S_IOERR);
  if (request.data_bytes == 0) return answered(VIRTIO_BLK_S_OK);
  request.segment_count = *cuts;
  request.offset_bytes = header.sector * BlockBackend::kSectorBytes;
  return Parsed::kSubmit;
}

bool Blk::inside(std::uint64_t sector, std::uint64_t length_bytes) const {
  return sector <= capacity_bytes_ / BlockBackend::kSectorBytes && length_bytes <= capacity_bytes_ - sector * BlockBackend::kSectorBytes;
}

// A discard or write-zeroes request into `request`, or its answer when nothing is to be done. Both make the ranges read as zeros: a
// discarded block must read the same on both hosts, so it is deterministic.
std::optional<std::uint8_t> Blk::parse_zeros(const Chain& chain, std::uint32_t type, BlkRequest& request) const {
  const bool discards = type == VIRTIO_BLK_T_DISCARD;
  if (!negotiated(discards ? VIRTIO_BLK_F_DISCARD : VIRTIO_BLK_F_WRITE_ZEROES)) return VIRTIO_BLK_S_UNSUPP;
  std::array<virtio_blk_discard_write_zeroes, kBlkMaxExtents> ranges{};
  const std::uint64_t data_bytes = chain.readable_bytes - kRequestHeaderBytes;
  if (data_bytes == 0 || data_bytes % sizeof ranges[0] != 0 || data_bytes > sizeof ranges) return VIRTIO_BLK_S_IOERR;
  const auto given = std::span{ranges}.first(data_bytes / sizeof ranges[0]);
  gather(memory(), chain.readable(), kRequestHeaderBytes, std::as_writable_bytes(given));  // once: the driver may change them under us
  request.operation = BlockOperation::kZeros;
  request.keep_space = false;
  bool fits = true;
  for (const auto& range : given) {
    const bool unmap = (range.flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP) != 0;
    // 5.2.6.2, for any of them.
    if ((range.flags & ~std::uint32_t{VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP}) != 0 || (discards && unmap)) return VIRTIO_BLK_S_UNSUPP;
    request.keep_space |= !discards && !unmap;
    const std::uint64_t length = std::uint64_t{range.num_sectors} * BlockBackend::kSectorBytes;
    fits = fits && range.num_sectors <= kMaxExtentSectors && inside(range.sector, length);
    if (fits && length != 0) request.extents[request.extent_count++] = {range.sector * BlockBackend::kSectorBytes, length};
  }
  if (!fits) return VIRTIO_BLK_S_IOERR;
  return request.extent_count == 0 ? std::optional<std::uint8_t>{VIRTIO_BLK_S_OK} : std::nullopt;
}

void Blk::answer(const Chain& chain, GuestPhysicalAddress status_address, std::uint8_t status, std::uint32_t data_bytes) {
  const std::byte value{status};
  US_CHECK(memory().write(status_address, {&value, 1}));
  queue(0).push(chain.head, data_bytes + 1);
}

std::uint32_t Blk::write_serial_number(std::span<const Segment> segments) {
  std::array<std::byte, VIRTIO_BLK_ID_BYTES> id{};
  const std::string serial = backend_->serial_number();
  std::memcpy(id.data(), serial.data(), std::min(serial.size(), id.size()));
  std::uint32_t written = 0;
  for (const Segment& segment : segments) {
    const auto length = std::min<std::uint32_t>(segment.length, static_cast<std::uint32_t>(id.size()) - written);
    US_CHECK(memory().write(segment.address, std::span{id}.subspan(written, length)));
    written += length;
  }
  return written;
}

void Blk::reap() {
  Turn turn{*this};
  if (!turn) return;
  std::array<BlockCompletion, kReapBatch> completed;
  for (unsigned call = 0; call < kReapCalls; ++call) {
    const std::size_t count = backend_->reap(completed);
    for (std::size_t i = 0; i < count; ++i) {
      US_CHECK(completed[i].cookie < kMaxQueueSize);
      complete(static_cast<std::uint16_t>(completed[i].cookie));
    }
    if (count < completed.size()) break;
  }
  note_oldest();
  if (!runs(0)) return;
  publish(0);
  pump();
}

void Blk::complete(std::uint16_t head) {
  US_CHECK(requests_.is_submitted(head));
  const BlkRequest& request = requests_.request(head);
  const bool is_read = request.operation == BlockOperation::kRead;
  if (is_read) mark_read(request);
  // After a reset or a broken ring nobody waits for it.
  if (runs(0)) {
    const std::byte ok{VIRTIO_BLK_S_OK};
    US_CHECK(memory().write(request.status_address, {&ok, 1}));
    queue(0).push(head, static_cast<std::uint32_t>(is_read ? request.data_bytes + 1 : 1));
  }
  requests_.remove(head);
}

void Blk::mark_read(const BlkRequest& request) {
  for (const Segment& segment : request.data()) memory().mark_written(segment.address, segment.length);
}

void Blk::on_quiesce() {
  completions_.disarm();
  // A read in flight may have filled any part of its memory by now, and goes on: its pages stay dirty until it completes.
  for (std::uint16_t head = requests_.first(); head != RequestTable::kNone; head = requests_.next(head)) {
    const BlkRequest& request = requests_.request(head);
    if (requests_.is_submitted(head) && request.operation == BlockOperation::kRead) mark_read(request);
  }
}

void Blk::on_resume() {
  completions_.arm();
  if (runs(0)) take_again();
  restored_heads_.clear();
}

// Puts what was in flight in the restored state into the table again; pump() issues it first.
void Blk::take_again() {
  for (const std::uint16_t head : restored_heads_) {
    if (!queue(0).read_chain(head, chain_)) {
      fail("restored request", queue(0).error());
      return;
    }
    const Parsed parsed = parse_request(chain_);
    if (parsed == Parsed::kBroken) return;
    if (parsed == Parsed::kSubmit) requests_.add(head);
  }
}

void Blk::on_reset() {
  requests_.clear();
  restored_heads_.clear();
}

void Blk::on_detach() {
  if (!requests_in_flight() || backend_->abandon_in_flight(kAbandonPatience)) return;
  // A read that is stuck in the host's kernel may still write to guest memory: it must stay mapped for ever, rather than become something
  // else's memory.
  log(Severity::kError, "disk requests cannot be abandoned, guest memory stays allocated", {{"device", id()}});
  [[maybe_unused]] static std::vector<std::shared_ptr<GuestMemory>>& kept = *new std::vector<std::shared_ptr<GuestMemory>>;
  kept.push_back(shared_memory());
}

void Blk::save(schema::DeviceState::Builder out) const {
  out.setId(std::string{id()});
  out.setVersion(kStateVersion);
  auto state = out.getState().initAs<schema::BlkState>();
  save_transport(state.initTransport());
  state.setCapacityBytes(capacity_bytes_);
  state.setReadOnly(read_only_);
  std::vector<std::uint16_t> heads = restored_heads_;
  // Without a running driver nobody waits for what the backend still holds.
  if (live())
    for (std::uint16_t head = requests_.first(); head != RequestTable::kNone; head = requests_.next(head)) heads.push_back(head);
  auto in_flight = state.initInFlight(static_cast<unsigned>(heads.size()));
  for (unsigned i = 0; i < heads.size(); ++i) in_flight.set(i, heads[i]);
}

Result<Blk::State> Blk::parse_state(schema::DeviceState::Reader in) const {
  return parse_saved_state(in, id(), kStateVersion, [&]() -> Result<State> {
    const auto saved = in.getState().getAs<schema::BlkState>();
    if (saved.getCapacityBytes() != capacity_bytes_ || saved.getReadOnly() != read_only_)
      return Error{ErrorCode::kInvalid, "its disk has " + std::to_string(saved.getCapacityBytes()) + " bytes" +
                                            (saved.getReadOnly() ? ", read-only" : "") + "; this one has " +
                                            std::to_string(capacity_bytes_) + (read_only_ ? ", read-only" : "")};
    State state;
    US_ASSIGN(state.transport, parse_transport(saved.getTransport()));
    const std::uint16_t queue_size = state.transport.queues[0].size;
    for (const std::uint16_t head : saved.getInFlight()) {
      if (head >= queue_size || std::ranges::find(state.in_flight, head) != state.in_flight.end())
        return Error{ErrorCode::kCorrupt,
                     "request in flight " + std::to_string(head) + " is twice or outside the queue of " + std::to_string(queue_size)};
      state.in_flight.push_back(head);
    }
    return state;
  });
}

Result<void> Blk::check(schema::DeviceState::Reader in) const {
  US_TRY(parse_state(in));
  return {};
}

Result<void> Blk::restore(schema::DeviceState::Reader in) {
  US_ASSIGN(State state, parse_state(in));
  US_CHECK(requests_.first() == RequestTable::kNone);
  restore_transport(state.transport);
  restored_heads_ = std::move(state.in_flight);
  return {};
}

}  // namespace understudy
