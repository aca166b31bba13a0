// Addresses and sizes that the guest's assembly, its C++ and its linker script must agree on: plain macros, since all three read them.
#pragma once

#define GUEST_PUBLISHED 0x100000  // the page that tests read: published.h
#define GUEST_STUBS 0x110000      // entry stubs, 16 bytes each, so that the IDT is a constant
#define GUEST_TABLES 0x112000     // GDT and TSSs, so that their descriptors are constants
#define GUEST_IMAGE 0x120000      // code and data
#define GUEST_TRAMPOLINE 0x8000   // where other vCPUs start in real mode
#define GUEST_MAX_CPUS 8

#define KERNEL_STACK_BYTES 8192  // ring 0, per vCPU; its lowest bytes are the CpuBlock
#define USER_STACK_BYTES 65536

#define SELECTOR_CODE0 0x08
#define SELECTOR_DATA0 0x10
#define SELECTOR_CODE32 0x18
#define SELECTOR_DATA3 0x23
#define SELECTOR_CODE3 0x2b
#define SELECTOR_TSS 0x30  // plus 16 per vCPU
#define TSS_BYTES 512
#define PORTS_OPEN 0x700  // ring 3 may use every port below it: the last are those of ACPI's power hardware
#define GDT_BYTES (0x30 + 16 * GUEST_MAX_CPUS)

#define VECTOR_TIMER 0x20
#define VECTOR_WAKE 0x21
#define VECTOR_DEVICES 0x28  // plus the GSI, 0 to 23
#define VECTOR_COUNT 0x40
#define VECTOR_SPURIOUS 0xff

// CpuBlock, see cpu.h.
#define CPU_SELF 0
#define CPU_WAKEUPS 8
#define CPU_VECTOR_COUNTS 32

// The torture's shape, see torture_layout.h. Powers of two but for the hot pages.
#define TORTURE_HOT_PAGES 64
#define TORTURE_COLD_PAGES_SHIFT 10
#define TORTURE_SHARED_PAGES_SHIFT 5
#define TORTURE_COLD_PERIOD_SHIFT 5
#define TORTURE_WORD0 0x000
#define TORTURE_WORD1 0x548
#define TORTURE_WORD2 0xab8
#define TORTURE_WORD3 0xff8
