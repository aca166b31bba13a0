// The torture's passes: the counter lives in RAX (and once more in XMM15), never in memory, so that registers and memory must agree.
// torture_layout.h says what holds at each instruction boundary here.

#include "tests/guest/asm_layout.h"

    .intel_syntax noprefix
    .section .text, "ax"

// uint64_t guest_torture_passes(TortureCpu* cpu /*RDI*/, uint64_t n /*RSI*/, uint64_t passes /*RDX*/)
// Returns n + passes, or after a contradiction less, with cpu->what, at, found and expected set.
//   TortureCpu: 0 hot, 8 shared, 16 cold, 24 cell_offset, 32 published, 40 block, 48 what, 56 at, 64 found, 72 expected
    .globl guest_torture_passes
guest_torture_passes:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    mov rax, rsi
    movq xmm15, rax
    mov r9, [rdi]
    lea r10, [r9 + TORTURE_HOT_PAGES * 4096]
    mov rbx, [rdi + 8]
    mov r11, [rdi + 16]
    mov rbp, [rdi + 24]
    mov rsi, [rdi + 32]

.Lpass:
    lea r8, [rax + 1]
    mov rcx, r9
.Lhot:
    .irp word, TORTURE_WORD0, TORTURE_WORD1, TORTURE_WORD2, TORTURE_WORD3
    lea r14, [rcx + \word]
    mov r15, [r14]
    cmp r15, rax
    jne .Lbad_hot
    mov [r14], r8
    .endr
    add rcx, 4096
    cmp rcx, r10
    jne .Lhot

    movq r15, xmm15
    cmp r15, rax
    jne .Lbad_xmm
    mov r15, fs:[0]
    cmp r15, [rdi + 40]
    jne .Lbad_fs

    mov r12d, eax
    and r12d, (1 << TORTURE_SHARED_PAGES_SHIFT) - 1
    mov r13, rax
    shr r13, TORTURE_SHARED_PAGES_SHIFT
    mov r14, r12
    shl r14, 12
    lock add qword ptr [rbx + r14], 1
    lea r14d, [r12 + 1]
    and r14d, (1 << TORTURE_SHARED_PAGES_SHIFT) - 1
    shl r14, 12
    add r14, rbx
    add r14, rbp
    mov r15d, 1
    lock xadd [r14], r15
    cmp r15, r13
    jne .Lbad_shared

    test eax, (1 << TORTURE_COLD_PERIOD_SHIFT) - 1
    jnz .Lpublish
    mov r12, rax
    shr r12, TORTURE_COLD_PERIOD_SHIFT
    mov r13, r12
    shr r13, TORTURE_COLD_PAGES_SHIFT
    and r12d, (1 << TORTURE_COLD_PAGES_SHIFT) - 1
    shl r12, 12
    add r12, r11
    lea rcx, [r13 + 1]
    .irp word, TORTURE_WORD0, TORTURE_WORD1, TORTURE_WORD2, TORTURE_WORD3
    lea r14, [r12 + \word]
    mov r15, [r14]
    cmp r15, r13
    jne .Lbad_cold
    mov [r14], rcx
    .endr

.Lpublish:
    mov rax, r8
    movq xmm15, rax
    mov [rsi], rax
    dec rdx
    jnz .Lpass
.Lreturn:
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

.Lbad_hot:
    mov ecx, 1
    mov r13, rax
    jmp .Lbad
.Lbad_shared:
    mov ecx, 2
    jmp .Lbad
.Lbad_cold:
    mov ecx, 3
    jmp .Lbad
.Lbad_xmm:
    mov ecx, 4
    mov r13, rax
    xor r14d, r14d
    jmp .Lbad
.Lbad_fs:
    mov ecx, 5
    mov r13, [rdi + 40]
    xor r14d, r14d
.Lbad:
    mov [rdi + 48], rcx
    mov [rdi + 56], r14
    mov [rdi + 64], r15
    mov [rdi + 72], r13
    jmp .Lreturn

    .section .note.GNU-stack, "", @progbits
