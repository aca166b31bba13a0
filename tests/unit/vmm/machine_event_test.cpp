#include "vmm/machine_event.h"

#include <gtest/gtest.h>

namespace understudy {
namespace {

std::optional<MachineEventKind> request(std::uint16_t port, std::initializer_list<unsigned char> values) {
  std::vector<std::byte> bytes;
  for (const unsigned char value : values) bytes.push_back(std::byte{value});
  return control_request(port, bytes);
}

TEST(ControlPorts, AskForAResetOrForPowerOff) {
  EXPECT_EQ(request(0x64, {0xFE}), MachineEventKind::kReset);
  EXPECT_EQ(request(0xCF9, {0x06}), MachineEventKind::kReset);
  EXPECT_EQ(request(0x604, {0x00, 0x20}), MachineEventKind::kPowerOff);
  EXPECT_EQ(request(0x604, {0x01, 0x20}), MachineEventKind::kPowerOff) << "SCI_EN as it was read";
}

TEST(ControlPorts, LeaveOtherOutputsAlone) {
  EXPECT_EQ(request(0x64, {0xAA}), std::nullopt);
  EXPECT_EQ(request(0xCF9, {0x02}), std::nullopt) << "arms a reset, asks for none";
  EXPECT_EQ(request(0x604, {0x20}), std::nullopt);
  EXPECT_EQ(request(0x604, {0x00, 0x00}), std::nullopt);
  EXPECT_EQ(request(0x604, {0x00, 0x34}), std::nullopt) << "sleep type 5 is none here";
  EXPECT_EQ(request(0x604, {0x00, 0x20, 0x00, 0x00}), std::nullopt);
  EXPECT_EQ(request(0x3F8, {0xFE}), std::nullopt);
  EXPECT_EQ(request(0x64, {}), std::nullopt);
}

}  // namespace
}  // namespace understudy
