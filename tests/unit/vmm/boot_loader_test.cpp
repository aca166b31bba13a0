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
  EXPECT_EQ(entry->protocol, BootProtocol::kLinux64);
  EXPECT_EQ(entry->address.raw(), 0x20'0000U);
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
  EXPECT_EQ(entry->protocol, BootProtocol::kLinux64);
  EXPECT_EQ(entry->address.raw(), 0x100'0200U);
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

TEST_F(LoaderTest, TheFileDecidesOnTheProtocolUnlessItIsAskedFor) {
  const auto with_note = [&](std::uint64_t pvh_entry, std::uint64_t entry = 0x20'0000) {
    std::string file = kernel();
    Elf64_Ehdr header{};
    std::memcpy(&header, file.data(), sizeof header);
    header.e_entry = entry;
    header.e_phoff = file.size();
    header.e_phnum = 2;
    std::memcpy(file.data(), &header, sizeof header);
    file.append(file.substr(sizeof header, sizeof(Elf64_Phdr)));
    const auto note = make_pvh_note(pvh_entry);
    const Elf64_Phdr notes{PT_NOTE, PF_R, file.size() + sizeof(Elf64_Phdr), 0, 0, note.size(), 0, 4};
    file.append(reinterpret_cast<const char*>(&notes), sizeof notes);
    return file.append(reinterpret_cast<const char*>(note.data()), note.size());
  };
  const auto bytes32 = Elf32File{}.bytes();
  const std::string plain = kernel();
  const std::string both = with_note(0x20'0040);
  const std::string pvh_only = with_note(0x20'0040, 0xFFFF'FFFF'8020'0000);
  const std::string neither = kernel().replace(offsetof(Elf64_Ehdr, e_entry), 8, std::string(8, '\xFF'));
  const std::string bits32{reinterpret_cast<const char*>(bytes32.data()), bytes32.size()};
  const auto image = BzImageFile{}.bytes();
  const std::string boot_image{reinterpret_cast<const char*>(image.data()), image.size()};
  using enum BootProtocol;
  struct Case {
    const char* name;
    const std::string& file;
    std::optional<BootProtocol> asked;
    std::optional<BootProtocol> taken;
    std::uint64_t entry;
    const char* reason;
  };
  const Case cases[] = {
      {"plain", plain, {}, kLinux64, 0x20'0000, ""},
      {"plain as asked", plain, kLinux64, kLinux64, 0x20'0000, ""},
      {"plain by PVH", plain, kPvh, {}, 0, "can't be started by PVH: it has no XEN_ELFNOTE_PHYS32_ENTRY note"},
      {"both", both, {}, kLinux64, 0x20'0000, ""},
      {"both by PVH", both, kPvh, kPvh, 0x20'0040, ""},
      {"virtual entry", pvh_only, {}, kPvh, 0x20'0040, ""},
      {"virtual entry, 64-bit", pvh_only, kLinux64, {}, 0, "64-bit boot protocol: its entry point 0xffffffff80200000 lies in no segment"},
      {"neither", neither, {}, {}, 0, "its entry point 0xffffffffffffffff lies in no segment, and it has no PVH entry point"},
      {"32 bits", bits32, {}, kPvh, 0x20'0020, ""},
      {"32 bits, 64-bit", bits32, kLinux64, {}, 0, "can't be started by the 64-bit boot protocol: it is a 32-bit file"},
      {"PVH entry outside", with_note(0x40'0000), kPvh, {}, 0, "has a PVH entry point 0x400000 that lies in no segment"},
      {"boot image by PVH", boot_image, kPvh, {}, 0, "can't be started by PVH: it is a Linux boot image"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    config_.kernel_path = write(std::string{"kernel-"} + std::to_string(files_.size()), c.file);
    config_.protocol = c.asked;
    const auto entry = load_guest(config_, *memory_);
    ASSERT_EQ(entry.has_value(), c.taken.has_value()) << (entry ? "loaded" : entry.error().text());
    if (entry) {
      EXPECT_EQ(entry->protocol, *c.taken);
      EXPECT_EQ(entry->address.raw(), c.entry);
      EXPECT_EQ(text_at(boot_map::kPvhStartInfo.raw(), 4), "\x78\xC5\x6E\x33");
    } else {
      EXPECT_EQ(entry.error().code(), ErrorCode::kInvalid);
      EXPECT_NE(entry.error().text().find(c.reason), std::string::npos) << entry.error().text();
    }
  }
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

TEST(Loader, WordsForTheKernelStandBeforeWhatIsInits) {
  EXPECT_EQ(with_kernel_words("console=ttyS0 root=/dev/vda", " a=1 b"), "console=ttyS0 root=/dev/vda a=1 b");
  EXPECT_EQ(with_kernel_words("root=/dev/vda -- single -- x", " a=1"), "root=/dev/vda a=1 -- single -- x");
  EXPECT_EQ(with_kernel_words("", " a=1"), " a=1");
  EXPECT_EQ(with_kernel_words("quiet", ""), "quiet");
}

}  // namespace
}  // namespace understudy
