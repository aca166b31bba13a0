#include "tests/benchmarks/initrd.h"

#include <charconv>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/benchmarks/tiny_kernel.h"
#include "vmm/boot/elf.h"

namespace understudy::bench {
namespace {

constexpr std::size_t kHeaderBytes = 110;

unsigned field(std::string_view header, std::size_t index) {
  const auto digits = header.substr(6 + index * 8, 8);
  unsigned value = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  return value;
}

struct Found {
  unsigned mode, major, minor;
  std::string content;
};

// As the kernel's init/initramfs.c reads it: header, name and content, each padded to four bytes. nullopt: it would give up.
std::optional<std::map<std::string, Found>> unpack(std::string_view archive) {
  std::map<std::string, Found> files;
  std::size_t at = 0;
  const auto align = [&] { at = (at + 3) / 4 * 4; };
  while (at + kHeaderBytes <= archive.size()) {
    const auto header = archive.substr(at, kHeaderBytes);
    if (!header.starts_with("070701")) return std::nullopt;
    const std::size_t size = field(header, 6);
    const std::size_t name_bytes = field(header, 11);
    at += kHeaderBytes;
    if (at + name_bytes > archive.size()) return std::nullopt;
    const std::string name{archive.substr(at, name_bytes - 1)};
    if (archive[at + name_bytes - 1] != '\0') return std::nullopt;
    at += name_bytes;
    align();
    if (name == "TRAILER!!!") return files;
    if (at + size > archive.size()) return std::nullopt;
    files[name] = {field(header, 1), field(header, 9), field(header, 10), std::string{archive.substr(at, size)}};
    at += size;
    align();
  }
  return std::nullopt;
}

TEST(Initrd, HoldsInitAndItsConsole) {
  // Of every length within the padding.
  for (const std::string_view init : {"", "1", "12", "123", "1234", "12345"}) {
    const auto archive = make_initrd(std::as_bytes(std::span{init}));
    const auto files = unpack({reinterpret_cast<const char*>(archive.data()), archive.size()});
    ASSERT_TRUE(files.has_value()) << init;
    ASSERT_EQ(files->size(), 3U);
    EXPECT_EQ(files->at("init").content, init);
    EXPECT_EQ(files->at("init").mode, S_IFREG | 0755U);
    EXPECT_EQ(files->at("dev").mode, S_IFDIR | 0755U);
    const auto& console = files->at("dev/console");
    EXPECT_EQ(console.mode, S_IFCHR | 0600U);
    EXPECT_EQ(console.major, 5U);
    EXPECT_EQ(console.minor, 1U);
  }
}

TEST(TinyKernel, IsAnElfFileWithAPvhEntry) {
  const auto kernel = make_tiny_kernel();
  const auto parsed = parse_elf(kernel, kernel.size());
  ASSERT_TRUE(parsed.has_value()) << parsed.error().text();
}

}  // namespace
}  // namespace understudy::bench
