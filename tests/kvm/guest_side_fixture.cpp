#include "guest_side_fixture.h"

#include <cstdlib>
#include <filesystem>

#include <gtest/gtest.h>

#include "net/base/check.h"
#include "tests/support/fake_port.h"
#include "tests/support/fake_store.h"

namespace understudy::test {

namespace {

constexpr MacAddress kMac{{0x52, 0x54, 0, 0x12, 0x34, 0x56}};

}  // namespace

void Reports::add(Input input) {
  const std::lock_guard lock{mutex_};
  inputs_.push_back(std::move(input));
  changed_.notify_all();
}

std::unique_ptr<Side> Side::create(NodeId node, std::span<const std::byte> kernel, const RestartConfig& restart, const std::string& link) {
  std::unique_ptr<Side> side{new Side{node, make_elf(kernel)}};
  const auto opened = side->open(restart, link);
  EXPECT_TRUE(opened) << opened.error().text();
  return opened ? std::move(side) : nullptr;
}

Result<void> Side::open(const RestartConfig& restart, const std::string& link) {
  config_.pair = {.name = "test", .id = pair_id_of("test"), .node = self_.node};
  // Of both sides, since each is the other's peer.
  static const CurveSecretKey keys[] = {CurveSecretKey::generate(), CurveSecretKey::generate()};
  config_.security.own = keys[static_cast<std::size_t>(self_.node)];
  config_.security.peer = keys[static_cast<std::size_t>(peer_of(self_.node))].public_key();
  config_.vm.kernel = kernel_.path();
  config_.vm.memory_bytes = std::uint64_t{16} << 20;
  config_.vm.restart = restart;
  config_.net.mac = kMac;
  config_.replication = {.bind = link, .peer = link};
  config_.timing.pause_deadline = kLong;
  std::string folder = (std::filesystem::temp_directory_path() / "understudy-side-XXXXXX").string();
  if (::mkdtemp(folder.data()) == nullptr) return Error::from_errno("make a folder " + folder);
  config_.state_dir = folder;
  US_ASSIGN(node_thread_, LoopThread::start(clock_, "node"));
  US_ASSIGN(store_, StoreThread::start(std::make_unique<fake::ForgetfulStore>(), node_thread_->loop(), clock_, kLong));
  US_ASSIGN(egress_, Egress::start(clock_, std::make_unique<fake::FakePort>(), {.mac = kMac, .ipv4 = {}, .ipv6 = {}},
                                   {.gap = [](Instant, Duration) {}}));
  US_ASSIGN(session_thread_, LoopThread::start(clock_, "session"));
  Result<void> opened;
  const bool in_time = session_thread_->loop().post_and_wait(
      [&] {
        auto side = GuestSide::create({.config = config_,
                                       .clock = clock_,
                                       .loop = session_thread_->loop(),
                                       .zmq = ZmqContext::create(),
                                       .store = *store_,
                                       .timeline = timeline_,
                                       .self = self_,
                                       .console = console_,
                                       .report = [this](Input input) { reports.add(std::move(input)); }},
                                      *egress_);
        if (side)
          side_ = std::move(*side);
        else
          opened = std::move(side.error());
      },
      kLong);
  US_CHECK(in_time);
  return opened;
}

Side::~Side() {
  if (side_) session_thread_->loop().post_and_wait([this] { side_.reset(); }, kLong);
  if (!config_.state_dir.empty()) std::filesystem::remove_all(config_.state_dir);
}

Result<bool> Side::press_power_button() {
  Result<bool> pressed = false;
  order([&pressed](GuestSide& side) { pressed = side.press_power_button(); });
  return pressed;
}

std::string Side::serial() const {
  const auto output = console_->read(0, ConsoleBacklog::kBytes);
  return {reinterpret_cast<const char*>(output.bytes.data()), output.bytes.size()};
}

}  // namespace understudy::test
