// virtio-blk's requests: what is asked of the backend, and what the driver is answered.
#include "tests/unit/vmm/blk_fixture.h"

namespace understudy::blk_test {
namespace {

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

TEST_F(BlkTest, ARequestBeyondAllSegmentsOfTheirGreatestSizeIsAnError) {
  start(std::make_shared<FakeBlockBackend>(std::size_t{130} << 20));
  std::vector<Buffer> pieces(21, Buffer{kData, 6 << 20, true});
  const auto largest = add(VIRTIO_BLK_T_IN, 0, pieces);
  requests_ += 2;  // its table is longer than those of others
  pieces.push_back({kData, kSector, true});
  const auto larger = add(VIRTIO_BLK_T_IN, 0, pieces);
  kick();
  EXPECT_EQ(status(largest), VIRTIO_BLK_S_OK);
  EXPECT_EQ(status(larger), VIRTIO_BLK_S_IOERR);
}

TEST_F(BlkTest, ConfigurationSpaceNamesItsLimits) {
  virtio_blk_config config{};
  const auto out = std::as_writable_bytes(std::span{&config, 1});
  for (std::size_t i = 0; i < out.size(); ++i) device_->read(VirtioMmio::kConfigOffset + i, out.subspan(i, 1));
  EXPECT_EQ(config.capacity, kCapacity / kSector);
  EXPECT_EQ(config.size_max, 1u << 20);
  EXPECT_EQ(config.seg_max, 126u);
  EXPECT_EQ(config.blk_size, kSector);
  EXPECT_EQ(config.physical_block_exp, 3u);
  EXPECT_EQ(config.alignment_offset, 0u);
  EXPECT_EQ(config.min_io_size, 8u);
  EXPECT_EQ(config.max_discard_sectors, (128u << 20) / kSector);
  EXPECT_EQ(config.max_discard_seg, 16u);
  EXPECT_EQ(config.discard_sector_alignment, 8u);
  EXPECT_EQ(config.max_write_zeroes_sectors, (128u << 20) / kSector);
  EXPECT_EQ(config.max_write_zeroes_seg, 16u);
  EXPECT_EQ(config.write_zeroes_may_unmap, 1u);
  EXPECT_EQ(config.unused | config.unused1[0] | config.unused1[1] | config.unused1[2], 0);
  const auto offered = driver_->offered();
  for (const int feature : {VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_TOPOLOGY,
                            VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_WRITE_ZEROES})
    EXPECT_NE(offered >> feature & 1, 0u) << feature;
  for (const int feature : {VIRTIO_BLK_F_RO, VIRTIO_BLK_F_GEOMETRY, VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_MQ})
    EXPECT_EQ(offered >> feature & 1, 0u) << feature;
}

TEST_F(BlkTest, DiscardAndWriteZeroesMakeRangesZero) {
  constexpr std::uint64_t kSectors = kCapacity / kSector;
  constexpr std::uint32_t kUnmap = VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
  using Ranges = std::vector<virtio_blk_discard_write_zeroes>;
  const struct {
    const char* name;
    std::uint32_t type;
    Ranges ranges;
    std::uint8_t status;
    std::vector<BlockExtent> extents;
    bool keep_space = false;
  } cases[] = {
      {"a discard", VIRTIO_BLK_T_DISCARD, {{8, 8, 0}}, VIRTIO_BLK_S_OK, {{8 * kSector, 8 * kSector}}},
      {"several ranges",
       VIRTIO_BLK_T_DISCARD,
       {{0, 1, 0}, {kSectors - 1, 1, 0}},
       VIRTIO_BLK_S_OK,
       {{0, kSector}, {kCapacity - kSector, kSector}}},
      {"an empty range among others", VIRTIO_BLK_T_DISCARD, {{0, 0, 0}, {4, 2, 0}}, VIRTIO_BLK_S_OK, {{4 * kSector, 2 * kSector}}},
      {"only empty ranges", VIRTIO_BLK_T_DISCARD, {{0, 0, 0}, {kSectors, 0, 0}}, VIRTIO_BLK_S_OK, {}},
      {"zeros that may be unmapped", VIRTIO_BLK_T_WRITE_ZEROES, {{8, 8, kUnmap}}, VIRTIO_BLK_S_OK, {{8 * kSector, 8 * kSector}}},
      {"zeros that may not", VIRTIO_BLK_T_WRITE_ZEROES, {{8, 8, 0}}, VIRTIO_BLK_S_OK, {{8 * kSector, 8 * kSector}}, true},
      {"both kinds at once",
       VIRTIO_BLK_T_WRITE_ZEROES,
       {{0, 1, kUnmap}, {1, 1, 0}},
       VIRTIO_BLK_S_OK,
       {{0, kSector}, {kSector, kSector}},
       true},
      {"as many ranges as there may be", VIRTIO_BLK_T_DISCARD, Ranges(16, {0, 1, 0}), VIRTIO_BLK_S_OK,
       std::vector<BlockExtent>(16, {0, kSector})},
      {"one more", VIRTIO_BLK_T_DISCARD, Ranges(17, {0, 1, 0}), VIRTIO_BLK_S_IOERR, {}},
      {"no range", VIRTIO_BLK_T_DISCARD, {}, VIRTIO_BLK_S_IOERR, {}},
      {"past the end", VIRTIO_BLK_T_DISCARD, {{kSectors, 1, 0}}, VIRTIO_BLK_S_IOERR, {}},
      {"across the end", VIRTIO_BLK_T_WRITE_ZEROES, {{0, 1, 0}, {kSectors - 1, 2, 0}}, VIRTIO_BLK_S_IOERR, {}},
      {"a sector that overflows", VIRTIO_BLK_T_WRITE_ZEROES, {{~std::uint64_t{0}, 1, 0}}, VIRTIO_BLK_S_IOERR, {}},
      {"more sectors than one range may have", VIRTIO_BLK_T_DISCARD, {{0, ~0u, 0}}, VIRTIO_BLK_S_IOERR, {}},
      {"unmap in a discard", VIRTIO_BLK_T_DISCARD, {{8, 8, kUnmap}}, VIRTIO_BLK_S_UNSUPP, {}},
      {"an unknown flag", VIRTIO_BLK_T_WRITE_ZEROES, {{0, 1, 0}, {8, 8, 2}}, VIRTIO_BLK_S_UNSUPP, {}},
      {"secure erase", VIRTIO_BLK_T_SECURE_ERASE, {{8, 8, 0}}, VIRTIO_BLK_S_UNSUPP, {}},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    start(std::make_shared<FakeBlockBackend>(kCapacity), kZeroFeatures);
    std::ranges::fill(backend_->disk(), std::byte{0xFF});
    const auto request = zero(each.type, each.ranges);
    kick();
    EXPECT_EQ(status(request), each.status);
    EXPECT_EQ(backend_->submitted().size(), each.extents.empty() ? 0u : 1u);
    EXPECT_EQ(backend_->latest().extents, each.extents);
    EXPECT_EQ(backend_->latest().keep_space, each.keep_space);
    EXPECT_EQ(ring_.take_all_used(), (std::vector<Used>{{request.head, 1}}));
    EXPECT_FALSE(needs_reset());
    for (const auto& extent : each.extents) EXPECT_EQ(backend_->disk()[extent.offset_bytes], std::byte{0});
  }
}

TEST_F(BlkTest, RangesMayLieInPiecesAndAreReadOnce) {
  start(std::make_shared<FakeBlockBackend>(kCapacity), kZeroFeatures);
  const virtio_blk_discard_write_zeroes ranges[] = {{3, 4, 0}, {16, 1, 0}};
  const auto bytes = std::as_bytes(std::span{ranges});
  put(kData, {bytes.begin(), bytes.begin() + 11});
  put(kData + 0x1000, {bytes.begin() + 11, bytes.end()});
  backend_->hold();
  const auto request = add(VIRTIO_BLK_T_DISCARD, 0, {{kData, 11}, {kData + 0x1000, 21}});
  kick();
  put(kData, std::vector<std::byte>(11, std::byte{0xFF}));  // the driver changes them under us
  backend_->release_all();
  rig_.settle();
  EXPECT_EQ(status(request), VIRTIO_BLK_S_OK);
  EXPECT_EQ(backend_->latest().extents, (std::vector<BlockExtent>{{3 * kSector, 4 * kSector}, {16 * kSector, kSector}}));
}

TEST_F(BlkTest, WithoutTheFeatureItIsUnsupported) {
  const auto discard = zero(VIRTIO_BLK_T_DISCARD, {{0, 1, 0}});
  const auto zeroes = zero(VIRTIO_BLK_T_WRITE_ZEROES, {{0, 1, 0}});
  kick();
  EXPECT_EQ(status(discard), VIRTIO_BLK_S_UNSUPP);
  EXPECT_EQ(status(zeroes), VIRTIO_BLK_S_UNSUPP);
  EXPECT_TRUE(backend_->submitted().empty());
}

TEST_F(BlkTest, WithoutFlushACompletedWriteIsStable) {
  write(0, kData, kSector);
  kick();
  EXPECT_TRUE(backend_->latest().stable);
  start(std::make_shared<FakeBlockBackend>(kCapacity), VirtioDriver::kUsual | std::uint64_t{1} << VIRTIO_BLK_F_FLUSH);
  write(0, kData, kSector);
  kick();
  EXPECT_FALSE(backend_->latest().stable);
}

TEST_F(BlkTest, ReadOnlyDiskRefusesWrites) {
  start(std::make_shared<FakeBlockBackend>(kCapacity, true));
  EXPECT_NE(driver_->offered() & (std::uint64_t{1} << VIRTIO_BLK_F_RO), 0u);
  EXPECT_EQ(driver_->offered() & (std::uint64_t{1} << VIRTIO_BLK_F_DISCARD | std::uint64_t{1} << VIRTIO_BLK_F_WRITE_ZEROES), 0u);
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
  ASSERT_TRUE(driver_->negotiate(VirtioDriver::kUsual));
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

}  // namespace
}  // namespace understudy::blk_test
