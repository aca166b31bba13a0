#include "machine_guests.h"

#include <cstdlib>
#include <cstring>
#include <elf.h>
#include <unistd.h>

#include "net/base/check.h"

#define GUEST(name, code)                                                                        \
  asm(".pushsection .rodata\n.code64\n"                                                          \
      ".globl us_guest_" #name                                                                   \
      "\n"                                                                                       \
      "us_guest_" #name ":\n" code "\n.globl us_guest_" #name                                    \
      "_end\n"                                                                                   \
      "us_guest_" #name                                                                          \
      "_end:\n"                                                                                  \
      ".popsection\n");                                                                          \
  extern "C" const std::byte us_guest_##name[], us_guest_##name##_end[];                         \
  namespace understudy::test {                                                                   \
  std::span<const std::byte> name##_guest() { return {us_guest_##name, us_guest_##name##_end}; } \
  }

GUEST(hello, R"(
    lea hello_text(%rip), %rsi
    mov $0x3f8, %edx
1:  lodsb
    test %al, %al
    jz 2f
    out %al, %dx
    jmp 1b
2:  mov $0x604, %edx
    mov $0x2000, %eax
    out %ax, %dx
3:  hlt
    jmp 3b
hello_text: .asciz "hello\n"
)")

GUEST(reset, R"(
    mov $0xfe, %al
    out %al, $0x64
1:  hlt
    jmp 1b
)")

GUEST(boot_counting, R"(
    incq 0x200008
    mov 0x200008, %rax
    cmp $2, %rax
    ja 2f
    je 1f
    mov $0xfe, %al
    out %al, $0x64
    hlt
1:  mov $0xcf9, %edx
    mov $6, %al
    out %al, %dx
    hlt
2:  mov $0x604, %edx
    mov $0x2000, %eax
    out %ax, %dx
    hlt
)")

GUEST(pvpanic, R"(
    mov 0x200008, %bl
    mov $0x505, %edx
1:  mov %bl, %al
    out %al, %dx
    incq 0x200000
    jmp 1b
)")

GUEST(triple_fault, R"(
    ud2
)")

GUEST(jump_to_mmio, R"(
    mov $0xd8000000, %eax
    jmp *%rax
)")

GUEST(counter, R"(
    xor %eax, %eax
1:  inc %rax
    mov %rax, %rbx
    and $63, %ebx
    shl $12, %ebx
    mov %rax, 0x200000(%rbx)
    jmp 1b
)")

GUEST(port_echo, R"(
    xor %ebx, %ebx
    mov $0x3ff, %edx
1:  inc %rbx
    mov %bl, %al
    out %al, %dx
    xor %eax, %eax
    in %dx, %al
    cmp %al, %bl
    jne 2f
    mov %rbx, 0x200000
    jmp 1b
2:  ud2
)")

GUEST(smp, R"(
    mov $0xfee00000, %ebx
    orl $0x100, 0xf0(%rbx)          # the LAPIC's software enable
    lea smp_trampoline(%rip), %rsi
    mov $0x8000, %edi
    mov $smp_trampoline_end - smp_trampoline, %ecx
    rep movsb
    movl $0x000c4500, 0x300(%rbx)   # INIT to all but self
    mov $0x1000, %ecx
1:  dec %ecx
    jnz 1b
    movl $0x000c4608, 0x300(%rbx)   # start-up at 0x8000, to all but self
2:  movzwl 0x30008, %eax
    inc %eax
    cmp %eax, 0x200000
    jne 2b
    mov $0x604, %edx
    mov $0x2000, %eax
    out %ax, %dx
3:  hlt
    jmp 3b
.code16
smp_trampoline:
    cli
    mov $0x3000, %ax
    mov %ax, %ds
    lock incw 0x8                   # at 0x30008: real mode reaches no higher than 1 MiB
1:  hlt
    jmp 1b
smp_trampoline_end:
.code64
)")

GUEST(tsc, R"(
    rdtsc
    shl $32, %rdx
    or %rdx, %rax
    mov %rax, 0x200000
    mov %rax, %rbx                  # the latest
    xor %ecx, %ecx                  # the greatest step
1:  rdtsc
    shl $32, %rdx
    or %rdx, %rax
    cmp %rbx, %rax
    jb 3f
    mov %rax, %rsi
    sub %rbx, %rsi
    cmp %rcx, %rsi
    jbe 2f
    mov %rsi, %rcx
    mov %rcx, 0x200010
2:  mov %rax, %rbx
    mov %rax, 0x200008
    jmp 1b
3:  ud2
)")

GUEST(timer, R"(
    lea timer_handler(%rip), %rax   # an interrupt gate for vector 0x40, at 0x201000
    mov $0x201400, %edi
    mov %ax, (%rdi)
    movw $0x10, 2(%rdi)
    movw $0x8e00, 4(%rdi)
    shr $16, %rax
    mov %ax, 6(%rdi)
    movq $0, 8(%rdi)
    lea timer_idt(%rip), %rax
    lidt (%rax)
    mov $0xfee00000, %ebx
    orl $0x100, 0xf0(%rbx)
    movl $0xb, 0x3e0(%rbx)          # divide by one
    movl $0x20040, 0x320(%rbx)      # periodic, vector 0x40
    movl $2000000, 0x380(%rbx)
    sti
1:  jmp 1b
timer_handler:
    incq 0x200000
    movl $0, 0xb0(%rbx)             # end of interrupt
    iretq
timer_idt:
    .word 0x40f
    .quad 0x201000
)")

GUEST(deadline_timer, R"(
    lea deadline_handler(%rip), %rax   # an interrupt gate for vector 0x40, at 0x201000
    mov $0x201400, %edi
    mov %ax, (%rdi)
    movw $0x10, 2(%rdi)
    movw $0x8e00, 4(%rdi)
    shr $16, %rax
    mov %ax, 6(%rdi)
    movq $0, 8(%rdi)
    lea deadline_idt(%rip), %rax
    lidt (%rax)
    mov $0xfee00000, %ebx
    orl $0x100, 0xf0(%rbx)
    movl $0x40040, 0x320(%rbx)      # TSC deadline, vector 0x40
    call deadline_arm
    sti
1:  jmp 1b
deadline_handler:
    incq 0x200000
    movl $0, 0xb0(%rbx)             # end of interrupt
    call deadline_arm
    iretq
deadline_arm:
    mov $0x6e0, %ecx
    rdtsc
    add $4000000, %eax
    adc $0, %edx
    wrmsr
    ret
deadline_idt:
    .word 0x40f
    .quad 0x201000
)")

GUEST(pvh, R"(
.code32
    cmpl $0x336ec578, (%ebx)        # the start info
    jne 3f
    mov %cr0, %eax
    test %eax, %eax                 # paging is the sign
    js 3f
    mov 24(%ebx), %esi              # the command line
    mov $0x3f8, %edx
1:  lodsb
    test %al, %al
    jz 2f
    out %al, %dx
    jmp 1b
2:  mov $0x604, %edx
    mov $0x2000, %eax
    out %ax, %dx
3:  ud2
.code64
)")

GUEST(power_button, R"(
    mov $0xff, %al                  # the line is also a PIC's, which would have a say
    out %al, $0x21
    out %al, $0xa1
    lea power_handler(%rip), %rax   # an interrupt gate for vector 0x40, at 0x201000
    mov $0x201400, %edi
    mov %ax, (%rdi)
    movw $0x10, 2(%rdi)
    movw $0x8e00, 4(%rdi)
    shr $16, %rax
    mov %ax, 6(%rdi)
    movq $0, 8(%rdi)
    lea power_idt(%rip), %rax
    lidt (%rax)
    mov $0xfee00000, %ebx
    orl $0x100, 0xf0(%rbx)
    mov $0xfec00000, %esi           # IOAPIC pin 9: vector 0x40, edge, to APIC 0
    movl $0x23, (%rsi)
    movl $0, 0x10(%rsi)
    movl $0x22, (%rsi)
    movl $0x40, 0x10(%rsi)
    mov $0x602, %edx                # enable the button
    mov $0x100, %eax
    out %ax, %dx
    movq $2, 0x200000
    sti
1:  hlt
    jmp 1b
power_handler:
    mov $0x600, %edx
    in %dx, %ax
    test $0x100, %eax
    jz 2f
    mov $0x100, %eax                # taken
    out %ax, %dx
    incq 0x200000
2:  movl $0, 0xb0(%rbx)             # end of interrupt
    cmpq $4, 0x200000
    jne 3f
    mov $0x604, %edx                # to S5 as an ACPI driver does it, with the other bits as they are
    in %dx, %ax
    or $0x2000, %eax
    out %ax, %dx
3:  iretq
power_idt:
    .word 0x40f
    .quad 0x201000
)")

namespace understudy::test {

std::vector<std::byte> make_elf(std::span<const std::byte> code) {
  constexpr std::size_t kCodeOffset = 0x1000;
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = ET_EXEC;
  header.e_machine = EM_X86_64;
  header.e_version = EV_CURRENT;
  header.e_entry = kGuestCode;
  header.e_phoff = sizeof header;
  header.e_ehsize = sizeof header;
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = 1;
  Elf64_Phdr program{};
  program.p_type = PT_LOAD;
  program.p_flags = PF_R | PF_W | PF_X;
  program.p_offset = kCodeOffset;
  program.p_vaddr = program.p_paddr = kGuestCode;
  program.p_filesz = program.p_memsz = code.size();
  std::vector<std::byte> file(kCodeOffset + code.size());
  std::memcpy(file.data(), &header, sizeof header);
  std::memcpy(file.data() + sizeof header, &program, sizeof program);
  std::memcpy(file.data() + kCodeOffset, code.data(), code.size());
  return file;
}

TemporaryFile::TemporaryFile(std::span<const std::byte> content) {
  path_ = "/tmp/understudy-test-XXXXXX";
  const int fd = ::mkstemp(path_.data());
  US_CHECK(fd >= 0);
  US_CHECK(::write(fd, content.data(), content.size()) == static_cast<ssize_t>(content.size()));
  ::close(fd);
}

TemporaryFile::~TemporaryFile() { ::unlink(path_.c_str()); }

}  // namespace understudy::test
