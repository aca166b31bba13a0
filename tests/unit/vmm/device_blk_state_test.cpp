// virtio-blk's requests in flight: pages being read, pauses, and twins that go on from a saved state.
#include <cstdlib>
#include <fstream>

#include <capnp/serialize.h>

#include "tests/unit/vmm/blk_fixture.h"
#include "vmm/devices/blk/state.capnp.h"

namespace understudy::blk_test {
namespace {

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

TEST_F(BlkTest, TwinDiscardsAgainWhatWasInFlight) {
  start(std::make_shared<FakeBlockBackend>(kCapacity), kZeroFeatures);
  backend_->hold();
  zero(VIRTIO_BLK_T_WRITE_ZEROES, {{8, 8, 0}, {64, 1, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP}});
  kick();
  DeviceRig other;
  auto other_disk = std::make_shared<FakeBlockBackend>(kCapacity);
  std::ranges::fill(other_disk->disk(), std::byte{0xFF});
  capnp::MallocMessageBuilder message;
  auto twin = twin_of(other, other_disk, message);
  other.on_loop([&] { twin->resume(); });
  other.settle();
  EXPECT_EQ(other_disk->latest().extents, backend_->latest().extents);
  EXPECT_TRUE(other_disk->latest().keep_space);
  EXPECT_EQ(other_disk->disk()[8 * kSector], std::byte{0});
  other.on_loop([&] { twin->detach(); });
}

// A state of the first release, which knew neither discard nor write zeroes, with two requests in flight: written once, read for ever. With
// UNDERSTUDY_WRITE_GOLDEN set, a missing file is written.
TEST_F(BlkTest, AStateOfVersion1IsTaken) {
  const std::string path = std::string{UNDERSTUDY_GOLDEN_DIR} + "/blk-v1";
  if (std::getenv("UNDERSTUDY_WRITE_GOLDEN") != nullptr && !std::ifstream{path}.good()) {
    start(std::make_shared<FakeBlockBackend>(kCapacity), VirtioDriver::kUsual | std::uint64_t{1} << VIRTIO_BLK_F_FLUSH);
    backend_->hold();
    for (const std::uint64_t sector : {3u, 4u}) read(sector, kData, kSector);
    kick();
    quiesce();
    capnp::MallocMessageBuilder written;
    device_->save(written.initRoot<schema::DeviceState>());
    const auto words = capnp::messageToFlatArray(written);
    std::ofstream{path, std::ios::binary}.write(words.asChars().begin(), static_cast<std::streamsize>(words.asChars().size()));
  }
  std::ifstream file{path, std::ios::binary};
  ASSERT_TRUE(file.good()) << path;
  const std::string bytes{std::istreambuf_iterator<char>{file}, {}};
  kj::ArrayInputStream stream{kj::arrayPtr(reinterpret_cast<const kj::byte*>(bytes.data()), bytes.size())};
  capnp::InputStreamMessageReader message{stream};
  const auto state = message.getRoot<schema::DeviceState>();
  EXPECT_EQ(state.getVersion(), 1);
  DeviceRig other;
  auto other_disk = std::make_shared<FakeBlockBackend>(kCapacity);
  auto twin = make(other, other_disk);
  ASSERT_TRUE(twin->check(state));
  ASSERT_TRUE(twin->restore(state));
  VirtioDriver driver{*twin};
  EXPECT_EQ(driver.status(), 15u);
  capnp::MallocMessageBuilder again;
  twin->save(again.initRoot<schema::DeviceState>());
  const auto saved = again.getRoot<schema::DeviceState>().getState().getAs<schema::BlkState>().asReader();
  ASSERT_EQ(saved.getInFlight().size(), 2u);
  EXPECT_EQ(saved.getTransport().getQueues()[0].getNextAvailable(), 2);
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
}  // namespace understudy::blk_test
