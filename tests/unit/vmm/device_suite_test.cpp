// One suite for every device: save, change, restore, compare. A folder below vmm/devices/ with a state schema that is missing in the table
// fails it.
#include <filesystem>
#include <map>
#include <set>

#include <capnp/message.h>
#include <capnp/serialize.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/serial_reg.h>

#include "tests/unit/vmm/device_rig.h"
#include "tests/unit/vmm/virtio_driver.h"
#include "vmm/device_manager.h"
#include "vmm/devices/balloon/balloon.h"
#include "vmm/devices/blk/blk.h"
#include "vmm/devices/net/net.h"
#include "vmm/devices/net/wire.h"
#include "vmm/devices/power/power.h"
#include "vmm/devices/pvpanic/pvpanic.h"
#include "vmm/devices/rng/rng.h"
#include "vmm/devices/rtc/rtc.h"
#include "vmm/devices/serial/serial.h"

namespace understudy {
namespace {

// A device on a machine of its own, driven step by step: each step changes what it would save.
class Specimen {
 public:
  static constexpr std::uint64_t kRing = 0x10000;
  static constexpr std::uint64_t kData = 0x100000;

  virtual ~Specimen() = default;
  virtual Device& device() = 0;
  // Each step moves some other part of the state; false when there are no more.
  virtual bool step(unsigned number) = 0;

  DeviceRig rig;
};

class SerialSpecimen final : public Specimen {
 public:
  Device& device() override { return serial_; }
  bool step(unsigned number) override {
    const auto out = [&](std::uint64_t port, std::uint8_t value) {
      const auto byte = static_cast<std::byte>(value);
      serial_.write(port, {&byte, 1});
      return true;
    };
    const std::byte key{'k'};
    switch (number) {
      case 0:
        return out(UART_LCR, UART_LCR_DLAB | UART_LCR_WLEN8);
      case 1:
        return out(UART_DLL, 1);
      case 2:
        return out(UART_DLM, 2);
      case 3:
        return out(UART_LCR, UART_LCR_WLEN8);
      case 4:
        return out(UART_IER, UART_IER_RDI);
      case 5:
        return out(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_TRIGGER_8);
      case 6:
        return out(UART_SCR, 0x77);
      case 7:
        return serial_.receive({&key, 1}) == 1;
      case 8:
        return out(UART_TX, 'a');
      case 9:
        return out(UART_MCR, UART_MCR_LOOP | UART_MCR_DTR);
      case 10:
        for (std::size_t i = 0; i < Serial::kInputBytes; ++i) out(UART_TX, 'b');
        return true;
      default:
        return false;
    }
  }

 private:
  Serial serial_{"serial0", *InterruptLine::create(), {}};
};

class PowerSpecimen final : public Specimen {
 public:
  Device& device() override { return power_; }
  bool step(unsigned number) override {
    const auto out = [&](std::uint64_t port, std::uint16_t value) {
      power_.write(port, std::as_bytes(std::span{&value, 1}));
      return true;
    };
    switch (number) {
      case 0:
        power_.press_button();
        return true;
      case 1:
        return out(2, 1 << 5);
      case 2:
        return out(2, 1 << 5 | Power::kButton);
      case 3:
        return out(0, 0xFFFF);
      case 4:
        return out(Power::kControlOffset, Power::kSleepTypeMask);
      case 5:
        return power_.press_button();
      default:
        return false;
    }
  }

 private:
  Power power_{"power0", *InterruptLine::create()};
};

class PvpanicSpecimen final : public Specimen {
 public:
  Device& device() override { return pvpanic_; }
  bool step(unsigned number) override {
    if (number > 6) return false;
    const auto bits = static_cast<std::byte>(number % Pvpanic::kKnown + 1);
    pvpanic_.write(0, {&bits, 1});
    return true;
  }

 private:
  Pvpanic pvpanic_{"pvpanic0", {}};
};

class VirtioSpecimen : public Specimen {
 public:
  Device& device() override { return *virtio_; }

 protected:
  void own(std::unique_ptr<VirtioMmio> device) {
    virtio_ = std::move(device);
    driver_.emplace(*virtio_);
  }
  ~VirtioSpecimen() override {
    rig.on_loop([&] { virtio_->detach(); });
  }
  VirtioSlot slot(std::string id) { return {std::move(id), GuestPhysicalAddress{0xD000'0000}, rig.memory, &rig.loop()}; }
  // The steps that all share: negotiation up to DRIVER_OK.
  bool negotiate(unsigned number) {
    switch (number) {
      case 0:
        driver_->write(VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
        return true;
      case 1:
        driver_->write(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
        return true;
      case 2:
        return driver_->negotiate(VirtioDriver::kUsual | own_features());
      case 3:
        for (unsigned i = 0; i < virtio_->queue_count(); ++i) driver_->set_queue(i, rings_[i]);
        return true;
      default:
        driver_->driver_ok();
        rig.settle();
        return true;
    }
  }
  static constexpr unsigned kNegotiationSteps = 5;
  virtual std::uint64_t own_features() const { return 0; }
  void kick(unsigned queue) {
    driver_->notify(queue);
    rig.settle();
  }

  std::unique_ptr<VirtioMmio> virtio_;
  std::optional<VirtioDriver> driver_;
  std::vector<DriverRing> rings_ = [this] {
    std::vector<DriverRing> rings;
    for (unsigned i = 0; i < 5; ++i) rings.emplace_back(*rig.memory, kRing + i * DriverRing::kBytes, 16);
    return rings;
  }();
};

class NetSpecimen final : public VirtioSpecimen {
 public:
  NetSpecimen() { own(std::move(*Net::create(slot("net0"), kMac, backend_, 2))); }
  std::uint64_t own_features() const override {
    std::uint64_t features = 0;
    for (const unsigned bit : {net_wire::kFeatureControlQueue, net_wire::kFeatureMultiQueue, net_wire::kFeatureGuestChecksum,
                               net_wire::kFeatureGuestTso4, net_wire::kFeatureControlGuestOffloads})
      features |= std::uint64_t{1} << bit;
    return features;
  }
  bool step(unsigned number) override {
    if (number < kNegotiationSteps) return negotiate(number);
    switch (number - kNegotiationSteps) {
      case 0:
        rings_[1].add({{kData, 12 + 60}});
        kick(1);
        return true;
      case 1:
        driver_->take_interrupt_status();
        return true;
      case 2:
        rings_[0].add({{kData, 2048, true}});
        kick(0);
        backend_->arrive(pattern(60, 1));
        rig.settle();
        return true;
      case 3:
        return control({4, 0, 2, 0});  // queue pairs
      case 4:
        return control({5, 0, 2, 0, 0, 0, 0, 0, 0, 0});  // receive offloads
      case 5:
        rings_[1].offer(99);
        kick(1);
        return true;
      default:
        return false;
    }
  }

 private:
  bool control(const std::vector<std::uint8_t>& request) {
    EXPECT_TRUE(rig.memory->write(GuestPhysicalAddress{kData}, std::as_bytes(std::span{request})));
    rings_[4].add({{kData, static_cast<std::uint32_t>(request.size())}, {kData + 0x800, 1, true}});
    kick(4);
    return rings_[4].take_used().has_value();
  }
  std::shared_ptr<FakeNetBackend> backend_ = std::make_shared<FakeNetBackend>();
};

class BlkSpecimen final : public VirtioSpecimen {
 public:
  BlkSpecimen() {
    backend_->hold();
    own(std::move(*Blk::create(slot("blk0"), backend_)));
  }
  bool step(unsigned number) override {
    if (number < kNegotiationSteps) return negotiate(number);
    switch (number - kNegotiationSteps) {
      case 0:
        first_ = rings_[0].add({{kData, 16}, {kData + 0x1000, 512, true}, {kData + 0x2000, 1, true}});
        kick(0);
        return true;
      case 1:
        rings_[0].add({{kData, 16}, {kData + 0x3000, 512, true}, {kData + 0x4000, 1, true}});
        kick(0);
        return true;
      case 2:
        backend_->complete(first_);
        rig.settle();
        return true;
      case 3:
        driver_->write(VIRTIO_MMIO_STATUS, 0);
        return driver_->status() != 0;  // pending, for the backend holds a request
      default:
        return false;
    }
  }

 private:
  std::shared_ptr<FakeBlockBackend> backend_ = std::make_shared<FakeBlockBackend>(1 << 20);
  std::uint16_t first_ = 0;
};

class RngSpecimen final : public VirtioSpecimen {
 public:
  RngSpecimen() { own(std::move(*Rng::create(slot("rng0"), host_entropy, {.bytes_per_interval = 64, .interval = std::chrono::hours{1}}))); }
  bool step(unsigned number) override {
    if (number < kNegotiationSteps) return negotiate(number);
    switch (number - kNegotiationSteps) {
      case 0:
        rings_[0].add({{kData, 64, true}});
        kick(0);
        return true;
      case 1:
        driver_->take_interrupt_status();
        return true;
      default:
        return false;
    }
  }
};

class BalloonSpecimen final : public VirtioSpecimen {
 public:
  BalloonSpecimen() {
    rings_.emplace_back(*rig.memory, kRing + 2 * DriverRing::kBytes, 16);
    own(std::move(*Balloon::create(slot("balloon0"), 3)));
  }
  bool step(unsigned number) override {
    if (number < kNegotiationSteps) return negotiate(number);
    switch (number - kNegotiationSteps) {
      case 0:
        static_cast<Balloon&>(*virtio_).set_target(7).value();
        return true;
      case 1:
        rings_[0].add({{kData, 4}});
        kick(0);
        return true;
      case 2:
        rings_[2].add({{kData + 0x1000, 0x2000, true}});
        kick(2);
        return true;
      case 3:
        driver_->write(VirtioMmio::kConfigOffset + 4, 5);
        return true;
      case 4:
        driver_->take_interrupt_status();
        return true;
      default:
        return false;
    }
  }
};

class RtcSpecimen final : public Specimen {
 public:
  ~RtcSpecimen() override {
    rig.on_loop([&] { rtc_->detach(); });
  }
  Device& device() override { return *rtc_; }
  bool step(unsigned number) override {
    const auto set = [&](std::uint8_t index, std::uint8_t value) {
      const std::byte bytes[] = {std::byte{index}, std::byte{value}};
      rtc_->write(0, bytes);
      return true;
    };
    switch (number) {
      case 0:
        return set(Mc146818::kB, Mc146818::kSet | Mc146818::kHours24);
      case 1:
        return set(Mc146818::kYear, 0x31);
      case 2:
        return set(Mc146818::kHoursAlarm, 0x11);
      case 3:
        return set(Mc146818::kA, 0x76);
      case 4:
        return set(0x50, 0xA5);
      case 5:
        return set(Mc146818::kA, 0x26);
      default:
        return false;
    }
  }

 private:
  std::unique_ptr<Rtc> rtc_ = std::move(*Rtc::create("rtc0", rig.loop(), kRigMemoryBytes));
};

using Make = std::unique_ptr<Specimen> (*)();
template <class T>
std::unique_ptr<Specimen> make_specimen() {
  return std::make_unique<T>();
}
const std::map<std::string, Make> kSpecimens = {{"power", make_specimen<PowerSpecimen>},     {"serial", make_specimen<SerialSpecimen>},
                                                {"pvpanic", make_specimen<PvpanicSpecimen>}, {"net", make_specimen<NetSpecimen>},
                                                {"blk", make_specimen<BlkSpecimen>},         {"rng", make_specimen<RngSpecimen>},
                                                {"balloon", make_specimen<BalloonSpecimen>}, {"rtc", make_specimen<RtcSpecimen>}};

// A saved state that outlives the device it came from.
class Saved {
 public:
  explicit Saved(const Device& device) {
    auto state = message_.initRoot<schema::DeviceState>();
    device.save(state);
  }
  schema::DeviceState::Builder state() { return message_.getRoot<schema::DeviceState>(); }
  schema::DeviceState::Reader reader() { return state().asReader(); }
  std::vector<std::byte> bytes() {
    const auto words = capnp::messageToFlatArray(message_);
    const auto bytes = std::as_bytes(std::span{words.begin(), words.size()});
    return {bytes.begin(), bytes.end()};
  }

 private:
  capnp::MallocMessageBuilder message_;
};

class DeviceSuite : public ::testing::TestWithParam<std::string> {
 protected:
  static std::unique_ptr<Specimen> make() { return kSpecimens.at(GetParam())(); }
  static void quiesce(Specimen& specimen) {
    specimen.rig.on_loop([&] { ASSERT_TRUE(specimen.device().quiesce()); });
  }
  static void resume(Specimen& specimen) {
    specimen.rig.on_loop([&] { specimen.device().resume(); });
  }
  // Steps up to `count` done; false if there are fewer.
  static bool drive(Specimen& specimen, unsigned count) {
    resume(specimen);
    for (unsigned i = 0; i < count; ++i)
      if (!specimen.step(i)) return false;
    quiesce(specimen);
    return true;
  }
};

TEST_P(DeviceSuite, EachStepShowsInTheStateAndATwinSavesTheSame) {
  std::vector<std::byte> before;
  unsigned steps = 0;
  for (;; ++steps) {
    const auto original = make();
    if (!drive(*original, steps)) break;
    Saved saved{original->device()};
    EXPECT_NE(saved.bytes(), before) << "step " << steps << " changed nothing that is saved";
    before = saved.bytes();

    const auto twin = make();
    std::ranges::copy(original->rig.memory->file(), twin->rig.memory->file().begin());
    const auto fresh = Saved{twin->device()}.bytes();
    ASSERT_TRUE(twin->device().check(saved.reader())) << twin->device().check(saved.reader()).error().text();
    EXPECT_EQ(Saved{twin->device()}.bytes(), fresh) << "check() must change nothing";
    ASSERT_TRUE(twin->device().restore(saved.reader()));
    EXPECT_EQ(Saved{twin->device()}.bytes(), saved.bytes()) << "after step " << steps;
    EXPECT_TRUE(std::ranges::equal(original->rig.memory->file(), twin->rig.memory->file())) << "restore() leaves memory alone";
  }
  EXPECT_GT(steps, 4u);
}

TEST_P(DeviceSuite, ANewStateReplacesTheOldWholly) {
  // A device that never ran may be given one state after another; of the one before nothing remains.
  const auto early = make();
  ASSERT_TRUE(drive(*early, 3));
  Saved first{early->device()};
  const auto late = make();
  ASSERT_TRUE(drive(*late, 6));
  Saved second{late->device()};
  const auto twin = make();
  std::ranges::copy(late->rig.memory->file(), twin->rig.memory->file().begin());
  ASSERT_TRUE(twin->device().restore(second.reader()));
  ASSERT_TRUE(twin->device().restore(first.reader()));
  EXPECT_EQ(Saved{twin->device()}.bytes(), first.bytes());
}

TEST_P(DeviceSuite, SavingTwiceIsTheSameAndChangesNothing) {
  const auto specimen = make();
  ASSERT_TRUE(drive(*specimen, 6));
  PageSet pages = specimen->rig.written();
  const auto first = Saved{specimen->device()}.bytes();
  EXPECT_EQ(Saved{specimen->device()}.bytes(), first);
  EXPECT_TRUE(specimen->rig.written().empty());
  quiesce(*specimen);
  EXPECT_EQ(Saved{specimen->device()}.bytes(), first) << "quiesce is idempotent";
}

TEST_P(DeviceSuite, RefusesForeignStates) {
  const auto specimen = make();
  ASSERT_TRUE(drive(*specimen, 6));
  const auto refuses = [&](auto damage) {
    Saved saved{specimen->device()};
    damage(saved.state());
    const auto twin = make();
    const auto fresh = Saved{twin->device()}.bytes();
    const auto restored = twin->device().restore(saved.reader());
    EXPECT_EQ(Saved{twin->device()}.bytes(), fresh) << "a refused state must change nothing";
    return restored ? std::string{"accepted"} : restored.error().text();
  };
  EXPECT_THAT(refuses([](auto state) { state.setId("other7"); }), ::testing::HasSubstr("other7"));
  EXPECT_THAT(refuses([](auto state) { state.setVersion(9); }), ::testing::HasSubstr("version is 9"));
  EXPECT_THAT(refuses([](auto state) { state.getState().clear(); }), ::testing::HasSubstr("empty"));
}

INSTANTIATE_TEST_SUITE_P(All, DeviceSuite, ::testing::ValuesIn([] {
                           std::vector<std::string> names;
                           for (const auto& [name, make] : kSpecimens) names.push_back(name);
                           return names;
                         }()),
                         [](const auto& each) { return each.param; });

TEST(DeviceSuiteTable, HasEveryDevice) {
  std::set<std::string> folders;
  for (const auto& entry : std::filesystem::directory_iterator{UNDERSTUDY_DEVICES_FOLDER}) {
    // virtio/ is the transport, saved as part of each device on it.
    if (entry.is_directory() && entry.path().filename() != "virtio") folders.insert(entry.path().filename());
  }
  std::set<std::string> known;
  for (const auto& [name, make] : kSpecimens) known.insert(name);
  EXPECT_EQ(folders, known);
}

}  // namespace
}  // namespace understudy
