#include <capnp/message.h>
#include <gtest/gtest.h>
#include <linux/virtio_blk.h>

#include "tests/unit/vmm/device_rig.h"
#include "tests/unit/vmm/virtio_driver.h"
#include "vmm/devices/blk/blk.h"
#include "vmm/devices/blk/state.capnp.h"

namespace understudy {
namespace {

constexpr std::uint64_t kRing = 0x10000;
constexpr std::uint64_t kHeaders = 0x20000;
constexpr std::uint64_t kData = 0x100000;
constexpr std::size_t kCapacity = 1 << 20;
constexpr std::size_t kSector = 512;
constexpr std::uint16_t kSize = 16;
constexpr std::uint64_t kFeatures = VirtioDriver::kVersion1 | VirtioDriver::kEventIndex | VirtioDriver::kIndirect;
constexpr std::uint8_t kUnanswered = 0xEE;

class BlkTest : public ::testing::Test {
 protected:
  BlkTest() { start(std::make_shared<FakeBlockBackend>(kCapacity)); }
  ~BlkTest() override { stop(*device_); }

  void start(std::shared_ptr<FakeBlockBackend> backend) {
    if (device_) stop(*device_);
    backend_ = std::move(backend);
    device_ = make(rig_, backend_);
    driver_.emplace(*device_);
    ring_ = DriverRing{*rig_.memory, kRing, kSize};
    rig_.on_loop([&] { device_->resume(); });
    ASSERT_TRUE(driver_->negotiate(kFeatures | (backend_->read_only() ? std::uint64_t{1} << VIRTIO_BLK_F_RO : 0)));
    driver_->set_queue(0, ring_);
    driver_->driver_ok();
    rig_.settle();
  }
  static std::unique_ptr<Blk> make(DeviceRig& rig, std::shared_ptr<FakeBlockBackend> backend) {
    auto made = Blk::create({"blk0", GuestPhysicalAddress{0xD000'0000}, rig.memory, &rig.loop()}, std::move(backend));
    EXPECT_TRUE(made) << made.error().text();
    return std::move(*made);
  }
  void stop(Blk& device) {
    rig_.on_loop([&] { device.detach(); });
  }
  struct Request {
    std::uint16_t head;
    std::uint64_t status;
  };
  Request add(std::uint32_t type, std::uint64_t sector, const std::vector<Buffer>& data) {
    const std::uint64_t at = kHeaders + 0x100 * requests_++;
    struct {
      std::uint32_t type, reserved;
      std::uint64_t sector;
    } header{type, 0, sector};
    EXPECT_TRUE(rig_.memory->write(GuestPhysicalAddress{at}, std::as_bytes(std::span{&header, 1})));
    const std::byte unanswered{kUnanswered};
    EXPECT_TRUE(rig_.memory->write(GuestPhysicalAddress{at + 0x20}, {&unanswered, 1}));
    std::vector<Buffer> chain{{at, 16}};
    chain.insert(chain.end(), data.begin(), data.end());
    chain.push_back({at + 0x20, 1, true});
    return {ring_.add_indirect(chain, at + 0x40), at + 0x20};
  }
  Request read(std::uint64_t sector, std::uint64_t to, std::uint32_t bytes) { return add(VIRTIO_BLK_T_IN, sector, {{to, bytes, true}}); }
  Request write(std::uint64_t sector, std::uint64_t from, std::uint32_t bytes) { return add(VIRTIO_BLK_T_OUT, sector, {{from, bytes}}); }
  void kick() {
    driver_->notify(0);
    rig_.settle();
  }
  std::uint8_t status(const Request& request) {
    std::byte value{};
    EXPECT_TRUE(rig_.memory->read(GuestPhysicalAddress{request.status}, {&value, 1}));
    return static_cast<std::uint8_t>(value);
  }
  void put(std::uint64_t at, const std::vector<std::byte>& bytes) { ASSERT_TRUE(rig_.memory->write(GuestPhysicalAddress{at}, bytes)); }
  std::vector<std::byte> get(std::uint64_t at, std::size_t length) {
    const auto bytes = *rig_.memory->at(GuestPhysicalAddress{at}, length);
    return {bytes.begin(), bytes.end()};
  }
  bool needs_reset() { return (driver_->status() & VIRTIO_CONFIG_S_NEEDS_RESET) != 0; }
  void quiesce() {
    rig_.on_loop([&] { ASSERT_TRUE(device_->quiesce()); });
  }
  // A twin over the same memory content, from the saved state.
  std::unique_ptr<Blk> twin_of(DeviceRig& rig, std::shared_ptr<FakeBlockBackend> backend, capnp::MessageBuilder& message) {
    quiesce();
    auto saved = message.initRoot<schema::DeviceState>();
    device_->save(saved);
    std::ranges::copy(rig_.memory->file(), rig.memory->file().begin());
    auto twin = make(rig, std::move(backend));
    EXPECT_TRUE(twin->check(saved.asReader()));
    EXPECT_TRUE(twin->restore(saved.asReader()));
    return twin;
  }

  DeviceRig rig_;
  std::shared_ptr<FakeBlockBackend> backend_;
  std::unique_ptr<Blk> device_;
  std::optional<VirtioDriver> driver_;
  DriverRing ring_{*rig_.memory, kRing, kSize};
  unsigned requests_ = 0;
};

TEST_F(BlkTest, WritesAndReadsBackInPieces) {
  const auto bytes = pattern(4 * kSector, 1);
  put(kData, bytes);
  const auto out = add(VIRTIO_BLK_T_OUT, 8, {{kData, 100}, {kData + 100, 1948}});
  kick();
  EXPECT_EQ(status(out), VIRTIO_BLK_S_OK);
  EXPECT_TRUE(std::ranges::equal(std::span{backend_->disk()}.subspan(8 * kSector, bytes.size()), bytes));
  const auto in = add(VIRTIO_BLK_T_IN, 8, {{kData + 0x10000, 1000, true}, {kData + 0x20000, 1048, true}});
  kick();
  EXPECT_EQ(status(in), VIRTIO_BLK_S_OK);
  auto got = get(kData + 0x10000, 1000);
  const auto rest = get(kData + 0x20000, 1048);
  got.insert(got.end(), rest.begin(), rest.end());
  EXPECT_EQ(got, bytes);
  EXPECT_EQ(ring_.take_all_used(), (std::vector<Used>{{out.head, 1}, {in.head, 2049}}));
  EXPECT_GT(drain_fd(device_->interrupt().fd()), 0u);
}

TEST_F(BlkTest, FlushGetIdAndUnsupported) {
  const auto flush = add(VIRTIO_BLK_T_FLUSH, 0, {});
  const auto id = add(VIRTIO_BLK_T_GET_ID, 0, {{kData, 20, true}});
  const auto short_id = add(VIRTIO_BLK_T_GET_ID, 0, {{kData + 0x100, 4, true}});
  const auto unknown = add(VIRTIO_BLK_T_DISCARD, 0, {{kData + 0x200, 16}});
  kick();
  EXPECT_EQ(status(flush), VIRTIO_BLK_S_OK);
  EXPECT_EQ(backend_->submitted().size(), 1u);
  EXPECT_EQ(backend_->submitted()[0].operation, BlockOperation::kFlush);
  EXPECT_EQ(status(id), VIRTIO_BLK_S_OK);
  const auto text = get(kData, 20);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(text.data())), "understudy-disk-0");
  EXPECT_EQ(status(short_id), VIRTIO_BLK_S_OK);
  EXPECT_EQ(get(kData + 0x104, 1)[0], std::byte{0}) << "not past the buffer";
  EXPECT_EQ(status(unknown), VIRTIO_BLK_S_UNSUPP);
}

TEST_F(BlkTest, TheGuestsMistakesAreAnsweredAtOnce) {
  constexpr std::uint64_t kSectors = kCapacity / kSector;
  const struct {
    const char* name;
    std::uint32_t type;
    std::uint64_t sector;
    std::uint32_t bytes;
    std::uint8_t status;
  } cases[] = {
      {"the last sector", VIRTIO_BLK_T_IN, kSectors - 1, kSector, VIRTIO_BLK_S_OK},
      {"past the end", VIRTIO_BLK_T_IN, kSectors, kSector, VIRTIO_BLK_S_IOERR},
      {"across the end", VIRTIO_BLK_T_OUT, kSectors - 1, 2 * kSector, VIRTIO_BLK_S_IOERR},
      {"offset overflows", VIRTIO_BLK_T_IN, ~std::uint64_t{0} / kSector + 1, kSector, VIRTIO_BLK_S_IOERR},
      {"the last sector number", VIRTIO_BLK_T_OUT, ~std::uint64_t{0}, kSector, VIRTIO_BLK_S_IOERR},
      {"not whole sectors", VIRTIO_BLK_T_OUT, 0, kSector + 1, VIRTIO_BLK_S_IOERR},
      {"half a sector", VIRTIO_BLK_T_IN, 0, kSector / 2, VIRTIO_BLK_S_IOERR},
      {"nothing", VIRTIO_BLK_T_OUT, 0, 0, VIRTIO_BLK_S_OK},
  };
  for (const auto& each : cases) {
    const auto request = add(each.type, each.sector, {{kData, each.bytes, each.type == VIRTIO_BLK_T_IN}});
    kick();
    EXPECT_EQ(status(request), each.status) << each.name;
  }
  EXPECT_EQ(backend_->submitted().size(), 1u);
  EXPECT_FALSE(needs_reset());
}

TEST_F(BlkTest, TooManyPiecesAreAnError) {
  std::vector<Buffer> pieces(129, Buffer{kData, kSector, true});
  ring_ = DriverRing{*rig_.memory, kRing, kSize};
  start(std::make_shared<FakeBlockBackend>(kCapacity));
  std::vector<Buffer> chain{{kHeaders, 16}};
  chain.insert(chain.end(), pieces.begin(), pieces.end());
  chain.push_back({kHeaders + 0x20, 1, true});
  put(kHeaders, std::vector<std::byte>(16));
  ring_.add_indirect(chain, kData + 0x100000);
  kick();
  EXPECT_EQ(get(kHeaders + 0x20, 1)[0], std::byte{VIRTIO_BLK_S_IOERR});
}

TEST_F(BlkTest, ReadOnlyDiskRefusesWrites) {
  start(std::make_shared<FakeBlockBackend>(kCapacity, true));
  EXPECT_NE(driver_->offered() & (std::uint64_t{1} << VIRTIO_BLK_F_RO), 0u);
  const auto out = write(0, kData, kSector);
  const auto in = read(0, kData, kSector);
  kick();
  EXPECT_EQ(status(out), VIRTIO_BLK_S_IOERR);
  EXPECT_EQ(status(in), VIRTIO_BLK_S_OK);
}

TEST_F(BlkTest, RequestThatCannotHoldAnAnswerNeedsAReset) {
  const std::vector<std::vector<Buffer>> cases = {
      {{kHeaders, 16}}, {{kHeaders, 15}, {kData, 1, true}}, {{kData, 1, true}}, {{kHeaders, 16}, {kData, 0, true}}};
  for (const auto& chain : cases) {
    start(std::make_shared<FakeBlockBackend>(kCapacity));
    ring_.add(chain);
    kick();
    EXPECT_TRUE(needs_reset());
    EXPECT_TRUE(backend_->submitted().empty());
  }
}

TEST_F(BlkTest, HeadInFlightCannotComeAgain) {
  backend_->hold();
  const auto request = write(0, kData, kSector);
  kick();
  ring_.offer(request.head);
  kick();
  EXPECT_TRUE(needs_reset());
  EXPECT_EQ(backend_->submitted().size(), 1u);
  backend_->release_all();
  rig_.settle();
  EXPECT_EQ(backend_->in_flight(), 0u);
  EXPECT_EQ(status(request), kUnanswered);
}

TEST_F(BlkTest, WakingWithoutAReadyQueueIsHarmless) {
  ASSERT_TRUE(driver_->negotiate(kFeatures));
  driver_->driver_ok();
  signal_fd(backend_->completion_fd());
  kick();
  EXPECT_FALSE(needs_reset());
}

TEST_F(BlkTest, CompletesInTheBackendsOrder) {
  backend_->hold();
  const auto first = read(0, kData, kSector);
  const auto second = read(1, kData + 0x1000, kSector);
  kick();
  EXPECT_TRUE(device_->oldest_request().has_value());
  backend_->complete(second.head);
  rig_.settle();
  EXPECT_EQ(ring_.take_all_used(), (std::vector<Used>{{second.head, kSector + 1}}));
  EXPECT_EQ(status(first), kUnanswered);
  backend_->complete(first.head);
  rig_.settle();
  EXPECT_EQ(ring_.take_all_used(), (std::vector<Used>{{first.head, kSector + 1}}));
  EXPECT_FALSE(device_->oldest_request().has_value());
}

TEST_F(BlkTest, FullBackendKeepsOrderAndLosesNothing) {
  backend_->hold();
  backend_->set_queue_limit(2);
  std::vector<Request> requests;
  for (unsigned i = 0; i < 6; ++i) requests.push_back(write(i, kData, kSector));
  kick();
  EXPECT_EQ(backend_->in_flight(), 2u);
  backend_->release_all();
  for (unsigned i = 0; i < 6; ++i) rig_.settle();
  const auto submitted = backend_->submitted();
  ASSERT_EQ(submitted.size(), 6u);
  for (unsigned i = 0; i < 6; ++i) EXPECT_EQ(submitted[i].offset_bytes, i * kSector);
  for (const auto& request : requests) EXPECT_EQ(status(request), VIRTIO_BLK_S_OK);
}

TEST_F(BlkTest, PagesBeingReadAreMarkedAtEveryQuiesceAndAtCompletion) {
  const PageIndex page{(kData + 0x5000) >> kPageShift};
  const PageIndex source{(kData + 0x9000) >> kPageShift};
  backend_->hold();
  const auto in = add(VIRTIO_BLK_T_IN, 0, {{kData + 0x5FF0, 16 + 496, true}});
  write(4, kData + 0x9000, kSector);
  kick();
  for (unsigned round = 0; round < 3; ++round) {
    rig_.written();
    quiesce();
    const auto written = rig_.written();
    EXPECT_TRUE(written.contains(page)) << round;
    EXPECT_TRUE(written.contains(after(page))) << round;
    EXPECT_FALSE(written.contains(source)) << "a write reads memory only";
    rig_.on_loop([&] { device_->resume(); });
    rig_.settle();
  }
  rig_.written();
  backend_->complete(in.head);
  rig_.settle();
  const auto written = rig_.written();
  EXPECT_TRUE(written.contains(page));
  EXPECT_TRUE(written.contains(after(page)));
  EXPECT_TRUE(written.contains(PageIndex{in.status >> kPageShift}));
  EXPECT_TRUE(written.contains(PageIndex{ring_.used() >> kPageShift}));
  rig_.written();
  quiesce();
  EXPECT_FALSE(rig_.written().contains(page)) << "it has completed";
}

TEST_F(BlkTest, CompletionsWaitWhileQuiesced) {
  backend_->hold();
  const auto request = write(0, kData, kSector);
  kick();
  quiesce();
  backend_->release_all();
  rig_.settle();
  EXPECT_EQ(status(request), kUnanswered);
  EXPECT_EQ(ring_.used_index(), 0);
  rig_.on_loop([&] { device_->resume(); });
  rig_.settle();
  EXPECT_EQ(status(request), VIRTIO_BLK_S_OK);
}

TEST_F(BlkTest, TwinIssuesWhatWasInFlightAgainInOrder) {
  backend_->hold();
  put(kData, pattern(3 * kSector, 7));
  const auto first = write(10, kData, kSector);
  const auto done = write(11, kData + kSector, kSector);
  const auto third = read(12, kData + 0x8000, kSector);
  const auto fourth = add(VIRTIO_BLK_T_FLUSH, 0, {});
  kick();
  backend_->complete(done.head);
  rig_.settle();
  const auto waiting = write(13, kData, kSector);  // made available, never taken: the twin finds it without a kick

  DeviceRig other;
  auto other_disk = std::make_shared<FakeBlockBackend>(kCapacity);
  std::ranges::copy(pattern(kSector, 9), other_disk->disk().begin() + 12 * kSector);
  capnp::MallocMessageBuilder message;
  auto twin = twin_of(other, other_disk, message);
  EXPECT_TRUE(other_disk->submitted().empty()) << "not before resume()";
  EXPECT_EQ(drain_fd(twin->interrupt().fd()), 0u);
  other.on_loop([&] { twin->resume(); });
  other.settle();

  using Submitted = FakeBlockBackend::Submitted;
  EXPECT_EQ(other_disk->submitted(), (std::vector<Submitted>{{BlockOperation::kWrite, 10 * kSector, kSector, first.head},
                                                             {BlockOperation::kRead, 12 * kSector, kSector, third.head},
                                                             {BlockOperation::kFlush, 0, 0, fourth.head},
                                                             {BlockOperation::kWrite, 13 * kSector, kSector, waiting.head}}));
  EXPECT_GT(drain_fd(twin->interrupt().fd()), 0u);
  EXPECT_NE(read_word(*twin, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_VRING, 0u);
  ring_.move_to(*other.memory);
  EXPECT_EQ(ring_.take_all_used(),
            (std::vector<Used>{{done.head, 1}, {first.head, 1}, {third.head, kSector + 1}, {fourth.head, 1}, {waiting.head, 1}}));
  const auto got = *other.memory->at(GuestPhysicalAddress{kData + 0x8000}, kSector);
  EXPECT_TRUE(std::ranges::equal(got, pattern(kSector, 9)));
  EXPECT_TRUE(std::ranges::equal(std::span{other_disk->disk()}.subspan(10 * kSector, kSector),
                                 pattern(3 * kSector, 7) | std::views::take(kSector)));
  other.on_loop([&] { twin->detach(); });
}

TEST_F(BlkTest, TwinRaisesItsInterruptThoughNothingIsLeftToDo) {
  write(0, kData, kSector);
  kick();
  EXPECT_NE(driver_->take_interrupt_status(), 0u);
  DeviceRig other;
  capnp::MallocMessageBuilder message;
  auto twin = twin_of(other, std::make_shared<FakeBlockBackend>(kCapacity), message);
  other.on_loop([&] { twin->resume(); });
  EXPECT_EQ(drain_fd(twin->interrupt().fd()), 1u);
  EXPECT_EQ(read_word(*twin, VIRTIO_MMIO_INTERRUPT_STATUS), static_cast<std::uint32_t>(VIRTIO_MMIO_INT_VRING));
  // Only once: going on after a pause of its own is no restore.
  other.on_loop([&] { ASSERT_TRUE(twin->quiesce()); });
  other.on_loop([&] { twin->resume(); });
  EXPECT_EQ(drain_fd(twin->interrupt().fd()), 0u);
  other.on_loop([&] { twin->detach(); });
}

TEST_F(BlkTest, TwinWithASmallBackendStillKeepsTheOrder) {
  backend_->hold();
  for (unsigned i = 0; i < 5; ++i) write(i, kData, kSector);
  kick();
  DeviceRig other;
  auto other_disk = std::make_shared<FakeBlockBackend>(kCapacity);
  other_disk->set_queue_limit(1);
  capnp::MallocMessageBuilder message;
  auto twin = twin_of(other, other_disk, message);
  other.on_loop([&] { twin->resume(); });
  for (unsigned i = 0; i < 6; ++i) other.settle();
  const auto submitted = other_disk->submitted();
  ASSERT_EQ(submitted.size(), 5u);
  for (unsigned i = 0; i < 5; ++i) EXPECT_EQ(submitted[i].offset_bytes, i * kSector);
  other.on_loop([&] { twin->detach(); });
}

TEST_F(BlkTest, TwinOfAPendingResetIsReset) {
  backend_->hold();
  write(0, kData, kSector);
  kick();
  driver_->write(VIRTIO_MMIO_STATUS, 0);
  ASSERT_NE(driver_->status(), 0u);
  DeviceRig other;
  auto other_disk = std::make_shared<FakeBlockBackend>(kCapacity);
  capnp::MallocMessageBuilder message;
  auto twin = twin_of(other, other_disk, message);
  other.on_loop([&] { twin->resume(); });
  EXPECT_EQ(read_word(*twin, VIRTIO_MMIO_STATUS), 0u);
  EXPECT_TRUE(other_disk->submitted().empty());
  other.on_loop([&] { twin->detach(); });
}

TEST_F(BlkTest, RefusesStatesThatCannotBe) {
  backend_->hold();
  write(0, kData, kSector);
  write(1, kData, kSector);
  kick();
  quiesce();
  const struct {
    const char* name;
    std::function<void(schema::DeviceState::Builder)> damage;
    bool ok;
  } cases[] = {
      {"sound", [](auto) {}, true},
      {"another id", [](auto s) { s.setId("blk1"); }, false},
      {"another version", [](auto s) { s.setVersion(2); }, false},
      {"no content", [](auto s) { s.getState().clear(); }, false},
      {"another capacity", [](auto s) { s.getState().template getAs<schema::BlkState>().setCapacityBytes(512); }, false},
      {"head twice", [](auto s) { s.getState().template getAs<schema::BlkState>().getInFlight().set(1, 0); }, false},
      {"head outside", [](auto s) { s.getState().template getAs<schema::BlkState>().getInFlight().set(1, kSize); }, false},
      {"status bits", [](auto s) { s.getState().template getAs<schema::BlkState>().getTransport().setStatus(0x1F); }, false},
      {"features never offered",
       [](auto s) { s.getState().template getAs<schema::BlkState>().getTransport().setDriverFeatures(~std::uint64_t{0}); }, false},
      {"no features", [](auto s) { s.getState().template getAs<schema::BlkState>().getTransport().setDriverFeatures(0); }, false},
      {"no queues", [](auto s) { s.getState().template getAs<schema::BlkState>().getTransport().initQueues(0); }, false},
      {"ring outside memory",
       [](auto s) { s.getState().template getAs<schema::BlkState>().getTransport().getQueues()[0].setDeviceArea(kRigMemoryBytes); }, false},
      {"queue size",
       [](auto s) { s.getState().template getAs<schema::BlkState>().getTransport().getQueues()[0].setSize(kMaxQueueSize * 2); }, false},
  };
  for (const auto& each : cases) {
    capnp::MallocMessageBuilder message;
    auto state = message.initRoot<schema::DeviceState>();
    device_->save(state);
    each.damage(state);
    DeviceRig other;
    auto twin = make(other, std::make_shared<FakeBlockBackend>(kCapacity));
    EXPECT_EQ(twin->check(state.asReader()).has_value(), each.ok) << each.name;
    EXPECT_EQ(twin->restore(state.asReader()).has_value(), each.ok) << each.name;
  }
}

TEST_F(BlkTest, RestoredRequestThatIsGoneFromMemoryNeedsAReset) {
  backend_->hold();
  const auto request = write(0, kData, kSector);
  kick();
  DeviceRig other;
  capnp::MallocMessageBuilder message;
  auto other_disk = std::make_shared<FakeBlockBackend>(kCapacity);
  auto twin = twin_of(other, other_disk, message);
  ring_.move_to(*other.memory);
  ring_.put_descriptor(ring_.descriptors(), request.head, {kRigMemoryBytes, 16, 0, 0});
  other.on_loop([&] { twin->resume(); });
  EXPECT_NE(read_word(*twin, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET, 0u);
  EXPECT_TRUE(other_disk->submitted().empty());
  other.on_loop([&] { twin->detach(); });
}

}  // namespace
}  // namespace understudy
