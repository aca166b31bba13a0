// Loading from files: what arrives in memory, and what is refused in one sentence.
#include <cstdlib>
#include <cstring>
#include <elf.h>
#include <fstream>
#include <unistd.h>

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/support/kernel_files.h"
#include "vmm/boot/loader.h"
#include "vmm/boot/memory_map.h"

namespace understudy {
namespace {

class LoaderTest : public testing::Test {
 protected:
  LoaderTest() {
    US_CHECK(::mkdtemp(folder_.data()) != nullptr);
    memory_ = GuestMemory::create(std::uint64_t{8} << 20).value();
    config_.kernel_path = write("kernel", kernel());
    config_.command_line = "console=ttyS0";
  }
  ~LoaderTest() override {
    for (const auto& path : files_) ::unlink(path.c_str());
    ::rmdir(folder_.c_str());
  }

  static std::string kernel(std::uint64_t start = 0x20'0000) {
    Elf64_Ehdr header{};
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_type = ET_EXEC;
    header.e_machine = EM_X86_64;
    header.e_entry = start;
    header.e_phoff = sizeof header;
    header.e_phentsize = sizeof(Elf64_Phdr);
    header.e_phnum = 1;
    Elf64_Phdr segment{};
    segment.p_type = PT_LOAD;
    segment.p_paddr = start;
    segment.p_offset = sizeof header + sizeof segment;
    segment.p_filesz = 4;
    segment.p_memsz = 8192;
    std::string file(reinterpret_cast<const char*>(&header), sizeof header);
    file.append(reinterpret_cast<const char*>(&segment), sizeof segment);
    return file + "code";
  }
  std::string write(const std::string& name, const std::string& content) {
    files_.push_back(folder_ + "/" + name);
    std::ofstream{files_.back(), std::ios::binary} << content;
    return files_.back();
  }
  std::string text_at(std::uint64_t address, std::size_t length) const {
    const auto bytes = memory_->at(GuestPhysicalAddress{address}, length);
    US_CHECK(bytes.has_value());
    return {reinterpret_cast<const char*>(bytes->data()), bytes->size()};
  }
  std::string refusal() {
    const auto loaded = load_guest(config_, *memory_);
    if (loaded) return "loaded";
    EXPECT_EQ(loaded.error().code(), ErrorCode::kInvalid);
    return loaded.error().text();
  }

  std::string folder_ = "/tmp/understudy-loader-XXXXXX";
  std::vector<std::string> files_;
  std::shared_ptr<GuestMemory> memory_;
  BootConfig config_;
};

TEST_F(LoaderTest, KernelCommandLineAndInitrdArriveAndAreMarked) {
  config_.initrd_path = write("initrd", std::string(5000, 'i'));
  std::ranges::fill(memory_->file(), std::byte{0xEE});  // as an earlier guest left it
  const auto entry = load_guest(config_, *memory_);
  ASSERT_TRUE(entry.has_value()) << entry.error().text();
  EXPECT_EQ(entry->raw(), 0x20'0000U);
  EXPECT_EQ(text_at(0x20'0000, 6), std::string("code\0\0", 6)) << "the rest of the segment is zero";
  EXPECT_EQ(text_at(0x20'0000 + 8191, 1), std::string(1, '\0'));
  EXPECT_EQ(text_at(boot_map::kCommandLine.raw(), 14), std::string("console=ttyS0\0", 14));
  EXPECT_EQ(text_at(0x80'0000 - 8192, 5000), std::string(5000, 'i'));
  EXPECT_EQ(text_at(0xE'0000, 8), "RSD PTR ");
  EXPECT_EQ(text_at(0x9'FC00, 4), "_MP_");
  PageSet written{memory_->page_count()};
  memory_->host_writes().drain(written);
  for (const unsigned page : {0x0U, 0x7U, 0x9U, 0xEU, 0x20U, 0x9FU, 0xE0U, 0x200U, 0x201U, 0x7FEU, 0x7FFU})
    EXPECT_TRUE(written.contains(PageIndex{page})) << page;
}

TEST_F(LoaderTest, ABootImageArrivesWithItsHeader) {
  memory_ = GuestMemory::create(std::uint64_t{32} << 20).value();
  BzImageFile file;
  const auto bytes = file.bytes("code");
  config_.kernel_path = write("bzImage", {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  config_.initrd_path = write("initrd", std::string(5000, 'i'));
  std::ranges::fill(memory_->file(), std::byte{0xEE});
  const auto entry = load_guest(config_, *memory_);
  ASSERT_TRUE(entry.has_value()) << entry.error().text();
  EXPECT_EQ(entry->raw(), 0x100'0200U);
  EXPECT_EQ(text_at(0x100'0200, 6), std::string("code\0\0", 6));
  EXPECT_EQ(text_at(boot_map::kZeroPage.raw() + 0x202, 4), "HdrS");
  PageSet written{memory_->page_count()};
  memory_->host_writes().drain(written);
  for (const unsigned page : {0x7U, 0x1000U, 0x1FFEU, 0x1FFFU}) EXPECT_TRUE(written.contains(PageIndex{page})) << page;
  EXPECT_FALSE(written.contains(PageIndex{0x1001}));

  config_.command_line = std::string(100, 'c');
  file.header.cmdline_size = 99;
  const auto short_line = file.bytes();
  config_.kernel_path = write("short", {reinterpret_cast<const char*>(short_line.data()), short_line.size()});
  EXPECT_NE(refusal().find("has 100 bytes with its virtio devices, 99 are possible"), std::string::npos) << refusal();
  // From its start on the kernel needs all of its init_size: no initrd may lie there.
  config_.command_line.clear();
  config_.initrd_path = write("large-initrd", std::string((8 << 20) + 1, 'x'));
  EXPECT_NE(refusal().find("above the kernel, which ends at 0x1800000"), std::string::npos) << refusal();
  memory_ = GuestMemory::create(std::uint64_t{8} << 20).value();
  EXPECT_NE(refusal().find("short: needs 0x800000 bytes of memory from 0x1000000 on"), std::string::npos) << refusal();
}

TEST_F(LoaderTest, RefusesWhatItCannotLoad) {
  const std::string good = config_.kernel_path;
  config_.kernel_path = folder_ + "/absent";
  EXPECT_NE(refusal().find("absent: open: No such file"), std::string::npos) << refusal();
  config_.kernel_path = folder_;
  EXPECT_NE(refusal().find("is not a regular file"), std::string::npos) << refusal();
  config_.kernel_path = write("text", "#!/bin/sh\n");
  EXPECT_NE(refusal().find("text: is neither an ELF file (vmlinux) nor a Linux boot image (bzImage)"), std::string::npos) << refusal();
  config_.kernel_path = write("empty", "");
  EXPECT_NE(refusal().find("empty: is neither"), std::string::npos) << refusal();
  config_.kernel_path = write("high", kernel(0x100'0000));
  EXPECT_NE(refusal().find("outside the guest's 8 MiB"), std::string::npos) << refusal();
  config_.kernel_path = write("low", kernel(0x8000));
  EXPECT_NE(refusal().find("below 0x100000"), std::string::npos) << refusal();
  config_.kernel_path = write("cut", kernel().substr(0, kernel().size() - 1));
  EXPECT_NE(refusal().find("cut: is truncated: segment 0"), std::string::npos) << refusal();

  config_.kernel_path = good;
  config_.initrd_path = folder_ + "/absent";
  EXPECT_NE(refusal().find("initrd " + folder_ + "/absent: open"), std::string::npos) << refusal();
  config_.initrd_path = write("empty-initrd", "");
  EXPECT_NE(refusal().find("is empty"), std::string::npos) << refusal();
  config_.initrd_path = write("large-initrd", std::string(6 << 20, 'x'));
  EXPECT_NE(refusal().find("do not fit"), std::string::npos) << refusal();

  config_.initrd_path.clear();
  config_.command_line = std::string(boot_map::kMaxCommandLineBytes + 1, 'c');
  EXPECT_NE(refusal().find("2048 bytes"), std::string::npos) << refusal();
  config_.command_line = std::string("a\0b", 3);
  EXPECT_NE(refusal().find("zero byte"), std::string::npos) << refusal();
  config_.command_line = std::string(boot_map::kMaxCommandLineBytes, 'c');
  EXPECT_EQ(refusal(), "loaded");
}

}  // namespace
}  // namespace understudy
