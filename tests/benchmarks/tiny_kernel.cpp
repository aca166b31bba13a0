#include "tests/benchmarks/tiny_kernel.h"

#include <string>
#include <string_view>

#include "tests/support/kernel_files.h"

namespace understudy::bench {

namespace {

constexpr std::size_t kEntryOffset = 0x20;  // where Elf32File has its PVH entry, in its segment

}  // namespace

std::vector<std::byte> make_tiny_kernel() {
  using namespace std::string_view_literals;
  std::string code(kEntryOffset, '\0');
  code += "\x66\xBA\xF8\x03"sv;  // mov dx, 0x3F8
  for (const char* c = kFirstWord; *c != '\0'; ++c) {
    code += '\xB0';  // mov al, c
    code += *c;
    code += '\xEE';  // out dx, al
  }
  code += "\xFA\xF4\xEB\xFD"sv;  // cli; again: hlt; jmp again
  return Elf32File{}.bytes(code);
}

}  // namespace understudy::bench
