// An epoch's way in: batches, manifests and session messages as a hostile peer could send them. The first byte chooses: a decoder on raw or
// edited bytes, or a whole secondary session that gets good messages, edited, repeated and out of order.
//
// Must never happen: a crash, an image that is called whole and equals no epoch that was sent, an ack of what is not held.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "checkpoint/capture.h"
#include "checkpoint/restore.h"
#include "input_reader.h"
#include "net/base/check.h"
#include "replication/messages.h"
#include "replication/secondary_session.h"
#include "tests/support/fake_disk.h"
#include "tests/support/fake_link.h"
#include "tests/support/fake_machine.h"

namespace understudy {
namespace {

using Bytes = std::vector<std::byte>;

constexpr std::size_t kPages = 8;
constexpr std::size_t kDiskBytes = 4096;
const std::vector<std::uint64_t> kDisks{kDiskBytes};

void edit(Bytes& bytes, InputReader& input) {
  for (unsigned edits = input.byte() % 4 + 1; edits > 0 && !bytes.empty(); --edits) edit_once(bytes, input);
}

// ---------------------------------------------------------------------------------------------------------------- decoders

EncodedPart good_pages(StagingPool& pool) {
  StagedPages staged{pool.try_acquire(), {1, 4, 6}};
  std::ranges::fill(staged.buffer.bytes(), std::byte{0});
  staged.buffer.bytes()[17] = std::byte{9};
  return std::move(encode_pages(std::move(staged), 8, 0).front());
}
EncodedPart good_writes() {
  const auto data = std::make_shared<Bytes>(512, std::byte{5});
  const std::vector<DiskWrite> writes{{.disk = 0, .offset_bytes = 512, .length_bytes = 512, .zeros = false, .data = {*data, data}},
                                      {.disk = 0, .offset_bytes = 0, .length_bytes = 1024, .zeros = true, .data = {}}};
  return encode_disk_writes(writes, 0);
}

void check_decoders(InputReader& input, StagingPool& pool) {
  const unsigned choice = input.byte();
  const EncodedPart part = choice % 2 == 0 ? good_pages(pool) : good_writes();
  Bytes payload = choice / 4 % 4 == 3 ? encode_manifest(EpochDigest{}.close(Term{1}, Epoch{2}, Epoch{1}, {})) : part.payload;
  std::vector<OwnedBytes> bulk = part.bulk;
  if (input.byte() % 4 == 0 && !bulk.empty()) bulk.push_back(bulk.front());
  if (choice / 2 % 2 == 0) {
    edit(payload, input);
  } else {
    payload.clear();
    while (!input.done()) payload.push_back(static_cast<std::byte>(input.byte()));
  }
  if (const auto batch = decode_pages(payload, bulk, kPages)) {
    fake::FakeMachine target{kPages};
    target.make_warm();
    write_pages(*batch, target);  // in range, or it is a crash
  }
  if (const auto batch = decode_disk_writes(payload, bulk, kDisks)) {
    fake::DiskBytes image(kDiskBytes);
    for (const DiskWrite& write : batch->writes) fake::write_into(image, write);
  }
  if (const auto manifest = decode_manifest(payload)) US_CHECK(*decode_manifest(encode_manifest(*manifest)) == *manifest);
  (void)from_bytes<Hello>(payload);
  (void)from_bytes<Welcome>(payload);
  (void)from_bytes<Refuse>(payload);
  (void)from_bytes<Begin>(payload);
  (void)from_bytes<Progress>(payload);
  (void)from_bytes<Reject>(payload);
  (void)from_bytes<CheckPages>(payload);
  (void)from_bytes<Checked>(payload);
}

// ----------------------------------------------------------------------------------------------------------------- session

struct Events final : SecondaryEvents {
  void session_up(Session, Term, Incarnation) override {}
  void image_overwritten() override {}
  void epoch_committed(Session, CommittedEpoch, const std::string&) override {}
  void activity() override {}
  void session_broken(const std::string&) override {}
};

// Writes good messages of epochs 1, 2, ...: in epoch N every page and the disk begin with N, so a mix shows.
class Peer {
 public:
  explicit Peer(StagingPool& pool) : pool_{pool} {}

  std::vector<Message> hello() {
    Hello hello{.expected_peer = Incarnation{2}, .fingerprint = {}, .disks = {{kDiskBytes, false}}};
    return {message(kind::kHello, Epoch{0}, to_bytes(hello), {}),
            message(kind::kBegin, Epoch{0}, to_bytes(Begin{.full = true, .base = Epoch{}}), {})};
  }
  std::vector<Message> epoch(std::uint64_t number) {
    EpochDigest digest;
    std::vector<Message> messages;
    StagedPages staged{pool_.try_acquire(), {}};
    for (std::uint32_t page = 0; page < kPages; ++page) staged.pages.push_back(page);
    std::ranges::fill(staged.buffer.bytes(), static_cast<std::byte>(number));
    for (EncodedPart& part : encode_pages(std::move(staged), 3, 0)) {
      digest.add_pages(part.checksum, part.pages, part.zero_pages);
      messages.push_back(message(kind::kPages, Epoch{number}, part.payload, part.bulk));
    }
    const auto data = std::make_shared<Bytes>(kDiskBytes, static_cast<std::byte>(number));
    const DiskWrite write{.disk = 0, .offset_bytes = 0, .length_bytes = kDiskBytes, .zeros = false, .data = {*data, data}};
    const EncodedPart part = encode_disk_writes(std::span{&write, 1}, digest.parts());
    digest.add_disk_writes(part.checksum, 1, kDiskBytes);
    messages.push_back(message(kind::kDiskWrites, Epoch{number}, part.payload, part.bulk));
    const std::uint64_t words[64] = {0x6d61'6368'696e'6531, number};
    const auto state = std::make_shared<Bytes>(std::as_bytes(std::span{words}).begin(), std::as_bytes(std::span{words}).end());
    const Manifest manifest = digest.close(Term{3}, Epoch{number}, Epoch{number - 1}, *state);
    messages.push_back(message(kind::kManifest, Epoch{number}, encode_manifest(manifest), {{*state, state}}));
    const CheckPages question{.pages = {PageIndex{number % kPages}, {number}}, .state_hash = number};
    messages.push_back(message(kind::kCheckPages, Epoch{number}, to_bytes(question), {}));
    return messages;
  }

 private:
  static Message message(MessageKind kind, Epoch epoch, std::span<const std::byte> payload, const std::vector<OwnedBytes>& bulk) {
    std::vector<Frame> frames;
    for (const OwnedBytes& bytes : bulk) frames.push_back(Frame::copy_of(bytes.bytes));
    return encode({.kind = kind,
                   .pair = PairId{7},
                   .sender = NodeId::kA,
                   .incarnation = Incarnation{1},
                   .term = Term{3},
                   .session = Session{5},
                   .epoch = epoch},
                  payload, std::move(frames));
  }
  StagingPool& pool_;
};

void check_session(InputReader& input, StagingPool& pool) {
  fake::FakeMachine machine{kPages};
  machine.make_warm();
  fake::FakeLinkPair links;
  fake::FakeDiskSink disk{kDiskBytes};
  Events events;
  SecondaryConfig config;
  config.pair = PairId{7};
  config.incarnation = Incarnation{2};
  config.compatible = [](const MachineFingerprint&, const MachineFingerprint&) -> Result<void> { return {}; };
  SecondarySession session{config, machine, links.b, {&disk}, events};
  session.accept(Term{3});

  Peer peer{pool};
  std::vector<Message> messages = peer.hello();
  for (std::uint64_t epoch = 1; epoch <= 3; ++epoch) std::ranges::move(peer.epoch(epoch), std::back_inserter(messages));
  std::uint64_t newest_ack = 0;
  links.a.on_message([&](const Message& message) {
    const auto decoded = decode(message, PairId{7});
    US_CHECK(decoded.has_value());
    if (decoded->envelope.kind == kind::kAck) newest_ack = std::max(newest_ack, decoded->envelope.epoch.raw());
  });
  for (std::size_t next = 0; next < messages.size();) {
    Message message = messages[next];
    switch (input.byte() % 8) {
      case 0:  // a bulk frame is damaged
        if (message.size() > 1) {
          Bytes bytes{message[1].bytes().begin(), message[1].bytes().end()};
          edit(bytes, input);
          message[1] = Frame::copy_of(bytes);
        }
        ++next;
        break;
      case 1: {  // the payload is edited, under a good envelope
        auto decoded = decode(message, PairId{7});
        Bytes bytes{decoded->payload.bytes().begin(), decoded->payload.bytes().end()};
        edit(bytes, input);
        message = encode(decoded->envelope, bytes, decoded->bulk);
        ++next;
        break;
      }
      case 2:
        next += 2;
        break;  // one is lost
      case 3:
        message = messages[input.byte() % messages.size()];
        break;  // one of another time; this one comes after it
      default:
        ++next;
    }
    if (const auto decoded = decode(message, PairId{7})) session.receive(*decoded, Instant{});
    links.deliver();
    US_CHECK(newest_ack <= session.committed().epoch.raw());
    if (!session.image_whole()) continue;
    const std::uint64_t held = session.committed().epoch.raw();
    US_CHECK(held >= 1 && held <= 3);
    const auto is_held = [held](std::byte byte) { return byte == static_cast<std::byte>(held); };
    US_CHECK(std::ranges::all_of(machine.memory(), is_held) && std::ranges::all_of(disk.image(), is_held));
  }
  if (session.image_whole()) {
    const auto image = session.prepare_takeover();
    US_CHECK(image && machine.restore(image->state.bytes) && machine.counter() == image->at.epoch.raw());
  }
}

}  // namespace
}  // namespace understudy

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace understudy;
  static const auto pool = *StagingPool::create(4, kPages);
  InputReader input{data, size};
  if (input.byte() % 2 == 0)
    check_decoders(input, *pool);
  else
    check_session(input, *pool);
  return 0;
}
