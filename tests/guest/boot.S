// Entry from the boot loader and from the real-mode trampoline, and every ring-0 stub. Ring 0 may be emulated instruction by instruction:
// it is kept short, and uses none of popcnt, cmpxchg16b, xsave, int n, int3, fwait, syscall.

#include "tests/guest/asm_layout.h"

    .intel_syntax noprefix

// ---------------------------------------------------------------------------------------------------------------------------------------
// The boot processor, by the Linux/x86 64-bit boot protocol: long mode, identity mapping, interrupts off, RSI = boot_params.
    .section .text.boot, "ax"
    .code64
    .globl guest_start
guest_start:
    cli
    cld
    mov r14, rsi
    xor ebx, ebx
    mov r15d, offset guest_main
    jmp enter_cpu

// Another processor, from the trampoline below. Its index and entry were left by the one that starts it (one at a time).
ap_start64:
    mov ebx, dword ptr [smp_starting_index]
    xor r14d, r14d
    mov r15d, offset guest_ap_main

// RBX: index of this vCPU; R14: argument; R15: ring-3 entry, called as entry(CpuBlock*, argument).
enter_cpu:
    mov ecx, offset page_map_level4
    mov cr3, rcx
    mov rax, cr4
    or eax, 0x600                   // OSFXSR, OSXMMEXCPT: SSE for ring 3
    mov cr4, rax
    mov rax, cr0
    and eax, 0xfffffff3             // no EM, no TS
    or eax, 0x22                    // MP, NE
    mov cr0, rax
    lgdt [gdt_pointer]
    lidt [idt_pointer]
    mov eax, SELECTOR_DATA3
    mov ds, eax
    mov es, eax
    xor eax, eax
    mov fs, eax
    mov gs, eax
    mov eax, SELECTOR_DATA0
    mov ss, eax

    // The kernel stack of vCPU i; its base is the CpuBlock.
    mov rcx, rbx
    imul rcx, rcx, KERNEL_STACK_BYTES
    add rcx, offset kernel_stacks
    lea rsp, [rcx + KERNEL_STACK_BYTES]
    mov qword ptr [rcx + CPU_SELF], rcx
    mov r12, rcx

    mov rdx, rbx
    imul rdx, rdx, TSS_BYTES
    mov qword ptr [rdx + tss_area + 4], rsp
    mov eax, ebx
    shl eax, 4
    add eax, SELECTOR_TSS
    ltr ax

    // FS base names the CpuBlock: the torture checks that it stays so.
    mov ecx, 0xc0000100
    mov rax, r12
    mov rdx, r12
    shr rdx, 32
    wrmsr

    // Down to ring 3: IOPL 3, IF.
    mov rcx, rbx
    inc rcx
    imul rcx, rcx, USER_STACK_BYTES
    add rcx, offset user_stacks
    sub rcx, 8                      // as after a call
    mov rdi, r12
    mov rsi, r14
    push SELECTOR_DATA3
    push rcx
    push 0x3202
    push SELECTOR_CODE3
    push r15
    iretq

// ---------------------------------------------------------------------------------------------------------------------------------------
// Where a SIPI starts a processor: copied to GUEST_TRAMPOLINE, real mode, CS = GUEST_TRAMPOLINE >> 4.
    .section .rodata.trampoline, "a"
    .globl trampoline_begin, trampoline_end
    .balign 16
trampoline_begin:
    .code16
    cli
    cld
    mov ax, cs
    mov ds, ax
    lgdt [trampoline_gdt_pointer - trampoline_begin]
    mov eax, cr0
    or eax, 1
    mov cr0, eax
    .byte 0x66, 0xea                // far jump to the 32-bit segment
    .long GUEST_TRAMPOLINE + trampoline32 - trampoline_begin
    .word SELECTOR_CODE32
    .code32
trampoline32:
    mov eax, SELECTOR_DATA0
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov eax, cr4
    or eax, 0x20                    // PAE
    mov cr4, eax
    mov eax, offset page_map_level4
    mov cr3, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x100                   // LME
    wrmsr
    mov eax, cr0
    or eax, 0x80000000              // PG
    mov cr0, eax
    .byte 0xea
    .long ap_start64
    .word SELECTOR_CODE0
    .balign 8
trampoline_gdt_pointer:
    .word GDT_BYTES - 1
    .long gdt
trampoline_end:
    .code64

// ---------------------------------------------------------------------------------------------------------------------------------------
// Stubs: 16 bytes each, at GUEST_STUBS.
    .section .stubs, "ax"
    .globl stubs_begin
stubs_begin:
    .set vector, 0
    .rept VECTOR_COUNT
    .balign 16
    .if vector == 6
    jmp undefined_opcode
    .elseif vector < 32
    .if vector != 8 && vector != 10 && vector != 11 && vector != 12 && vector != 13 && vector != 14 && vector != 17 && vector != 21
    push 0                          // no error code of the processor's own
    .endif
    push vector
    jmp exception
    .else
    push rax
    mov eax, vector * 8
    jmp interrupt
    .endif
    .set vector, vector + 1
    .endr
    .balign 16
spurious:
    iretq

    .balign 16
interrupt:
    push rcx
    mov rcx, rsp
    and rcx, -KERNEL_STACK_BYTES    // the CpuBlock
    inc qword ptr [rcx + rax + CPU_VECTOR_COUNTS]
    inc qword ptr [rcx + CPU_WAKEUPS]
    mov eax, 0xfee000b0             // EOI
    mov dword ptr [rax], 0
    // Between `sti` and `hlt`: whatever the processor makes of sti's shadow, this wake-up ends the wait.
    cmp qword ptr [rsp + 16], offset idle_hlt
    jne 1f
    mov qword ptr [rsp + 16], offset idle_awake
1:  pop rcx
    pop rax
    iretq

// `ud2` at guest_wait_ud2 is ring 3's way to wait (int n and syscall are not to be had everywhere). RDI: a counter; RSI: its value as ring 3
// last saw it. Returns once they differ, or after any interrupt. Interrupts are off from the comparison to the halt: no wake-up is lost.
undefined_opcode:
    cmp qword ptr [rsp], offset guest_wait_ud2
    jne 2f
    cmp qword ptr [rdi], rsi
    jne 1f
    sti
idle_hlt:
    hlt
idle_awake:
    cli
1:  add qword ptr [rsp], 2
    iretq
2:  push 0
    push 6

exception:
    mov rdi, rsp
    mov rsi, cr2
    and rsp, -16
    call guest_report_fault
3:  cli
    hlt
    jmp 3b

    .section .text, "ax"
    .globl guest_wait
guest_wait:
guest_wait_ud2:
    ud2
    ret

// ---------------------------------------------------------------------------------------------------------------------------------------
    .section .tables, "aw"
    .globl gdt
    .balign 16
gdt:
    .quad 0
    .quad 0x00af9b000000ffff        // 0x08 ring-0 code, 64 bit
    .quad 0x00cf93000000ffff        // 0x10 ring-0 data
    .quad 0x00cf9b000000ffff        // 0x18 ring-0 code, 32 bit
    .quad 0x00cff3000000ffff        // 0x20 ring-3 data
    .quad 0x00affb000000ffff        // 0x28 ring-3 code, 64 bit
    .set cpu, 0
    .rept GUEST_MAX_CPUS            // 0x30 and up: one TSS a vCPU, below 16 MiB
    .set tss, GUEST_TABLES + GDT_BYTES + TSS_BYTES * cpu
    .quad 0x0000890000000000 | ((tss & 0xffffff) << 16) | (TSS_BYTES - 1)
    .quad 0
    .set cpu, cpu + 1
    .endr
    .globl tss_area
tss_area:
    .rept GUEST_MAX_CPUS
    .skip 102                       // RSP0 is filled in by enter_cpu
    .word 104                       // the bitmap of the ports that ring 3 may use: not every host honours IOPL
    .skip PORTS_OPEN / 8
    .fill TSS_BYTES - 104 - PORTS_OPEN / 8, 1, 0xff
    .endr
    .balign 16
    .globl idt
idt:
    .set vector, 0
    .rept 256
    .if vector < VECTOR_COUNT
    .set stub, GUEST_STUBS + 16 * vector
    .else
    .set stub, GUEST_STUBS + 16 * VECTOR_COUNT
    .endif
    .quad (stub & 0xffff) | (SELECTOR_CODE0 << 16) | (0x8e << 40) | ((stub >> 16) << 48)
    .quad 0
    .set vector, vector + 1
    .endr
gdt_pointer:
    .word GDT_BYTES - 1
    .quad gdt
idt_pointer:
    .word 256 * 16 - 1
    .quad idt

// Identity mapping of the low 4 GiB with 2 MiB pages, for every ring; uncached from 3 GiB up, where the devices are.
    .balign 4096
page_directories:
    .set address, 0
    .rept 2048
    .if address < 0xc0000000
    .quad address | 0x87
    .else
    .quad address | 0x9f
    .endif
    .set address, address + 0x200000
    .endr
page_directory_pointers:
    .quad page_directories + 0x0007
    .quad page_directories + 0x1007
    .quad page_directories + 0x2007
    .quad page_directories + 0x3007
    .balign 4096
page_map_level4:
    .quad page_directory_pointers + 7
    .balign 4096

    .section .bss
    .globl kernel_stacks, user_stacks
    .balign KERNEL_STACK_BYTES
kernel_stacks:
    .skip KERNEL_STACK_BYTES * GUEST_MAX_CPUS
user_stacks:
    .skip USER_STACK_BYTES * GUEST_MAX_CPUS

    .section .note.GNU-stack, "", @progbits
