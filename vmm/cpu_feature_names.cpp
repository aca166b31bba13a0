#include "vmm/cpu_feature_names.h"

#include <array>

#include <fmt/format.h>

#include "net/base/check.h"
#include "vmm/cpu_features.h"

namespace understudy {
namespace {

using Names = std::array<const char*, 32>;  // nullptr: none

// In the order of kCpuFeatureWords.
constexpr std::array<Names, kCpuFeatureWords.size()> kNames = {{
    {"pni",    "pclmulqdq", "dtes64",  "monitor", "ds_cpl",
     "vmx",    "smx",       "est",     "tm2",     "ssse3",
     "cid",    "sdbg",      "fma",     "cx16",    "xtpr",
     "pdcm",   nullptr,     "pcid",    "dca",     "sse4_1",
     "sse4_2", "x2apic",    "movbe",   "popcnt",  "tsc_deadline_timer",
     "aes",    "xsave",     "osxsave", "avx",     "f16c",
     "rdrand", "hypervisor"},
    {"fpu", "vme",   "de", "pse",     "tsc",   "msr", "pae",  "mce", "cx8",  "apic", nullptr, "sep", "mtrr", "pge", "mca",  "cmov",
     "pat", "pse36", "pn", "clflush", nullptr, "dts", "acpi", "mmx", "fxsr", "sse",  "sse2",  "ss",  "ht",   "tm",  "ia64", "pbe"},
    {"fsgsbase", "tsc_adjust", "sgx",   "bmi1",         "hle",  "avx2",     "fdp_excptn_only", "smep",     "bmi2",     "erms",
     "invpcid",  "rtm",        "cqm",   "zero_fcs_fds", "mpx",  "rdt_a",    "avx512f",         "avx512dq", "rdseed",   "adx",
     "smap",     "avx512ifma", nullptr, "clflushopt",   "clwb", "intel_pt", "avx512pf",        "avx512er", "avx512cd", "sha_ni",
     "avx512bw", "avx512vl"},
    {"prefetchwt1", "avx512vbmi",   "umip",          "pku",       "ospke",
     "waitpkg",     "avx512_vbmi2", "shstk",         "gfni",      "vaes",
     "vpclmulqdq",  "avx512_vnni",  "avx512_bitalg", "tme",       "avx512_vpopcntdq",
     nullptr,       "la57",         nullptr,         nullptr,     nullptr,
     nullptr,       nullptr,        "rdpid",         nullptr,     "bus_lock_detect",
     "cldemote",    nullptr,        "movdiri",       "movdir64b", "enqcmd",
     "sgx_lc",      "pks"},
    {nullptr,
     nullptr,
     "avx512_4vnniw",
     "avx512_4fmaps",
     "fsrm",
     "uintr",
     nullptr,
     nullptr,
     "avx512_vp2intersect",
     "srbds_ctrl",
     "md_clear",
     "rtm_always_abort",
     nullptr,
     "tsx_force_abort",
     "serialize",
     "hybrid_cpu",
     "tsxldtrk",
     nullptr,
     "pconfig",
     "arch_lbr",
     "ibt",
     nullptr,
     "amx_bf16",
     "avx512_fp16",
     "amx_tile",
     "amx_int8",
     "spec_ctrl",
     "intel_stibp",
     "flush_l1d",
     "arch_capabilities",
     "core_capabilities",
     "spec_ctrl_ssbd"},
    {nullptr, nullptr,    nullptr, nullptr, "avx_vnni", "avx512_bf16", "lass",  "cmpccxadd", nullptr, nullptr, "fzrm",
     "fsrs",  "fsrc",     nullptr, nullptr, nullptr,    nullptr,       nullptr, nullptr,     nullptr, nullptr, "amx_fp16",
     nullptr, "avx_ifma", nullptr, nullptr, "lam",      nullptr,       nullptr, nullptr,     nullptr, nullptr},
    {"x87_state", "sse_state",  "avx_state", "bndregs_state", "bndcsr_state", "opmask_state", "zmm_hi256_state", "hi16_zmm_state",
     nullptr,     "pkru_state", nullptr,     nullptr,         nullptr,        nullptr,        nullptr,           nullptr,
     nullptr,     nullptr,      nullptr,     nullptr,         nullptr,        nullptr,        nullptr,           nullptr,
     nullptr,     nullptr,      nullptr,     nullptr,         nullptr,        nullptr,        nullptr,           nullptr},
    {"xsaveopt", "xsavec", "xgetbv1", "xsaves", "xfd",   nullptr, nullptr, nullptr, nullptr, nullptr, nullptr,
     nullptr,    nullptr,  nullptr,   nullptr,  nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr,
     nullptr,    nullptr,  nullptr,   nullptr,  nullptr, nullptr, nullptr, nullptr, nullptr, nullptr},
    {"lahf_lm",       "cmp_legacy", "svm",   "extapic",    "cr8_legacy",  "abm",    "sse4a",   "misalignsse",
     "3dnowprefetch", "osvw",       "ibs",   "xop",        "skinit",      "wdt",    nullptr,   "lwp",
     "fma4",          "tce",        nullptr, "nodeid_msr", nullptr,       "tbm",    "topoext", "perfctr_core",
     "perfctr_nb",    nullptr,      "bpext", "ptsc",       "perfctr_llc", "mwaitx", nullptr,   nullptr},
    {nullptr,   nullptr, nullptr, nullptr,    nullptr,   nullptr,  nullptr, nullptr, nullptr,    nullptr, nullptr,
     "syscall", nullptr, nullptr, nullptr,    nullptr,   nullptr,  nullptr, nullptr, "mp",       "nx",    nullptr,
     "mmxext",  nullptr, nullptr, "fxsr_opt", "pdpe1gb", "rdtscp", nullptr, "lm",    "3dnowext", "3dnow"},
    {"clzero",   "irperf",   "xsaveerptr", nullptr,    "rdpru", nullptr,    nullptr,     nullptr,     nullptr,
     "wbnoinvd", nullptr,    nullptr,      "amd_ibpb", nullptr, "amd_ibrs", "amd_stibp", nullptr,     "amd_stibp_always_on",
     nullptr,    nullptr,    nullptr,      nullptr,    nullptr, "amd_ppin", "amd_ssbd",  "virt_ssbd", "amd_ssb_no",
     nullptr,    "amd_psfd", nullptr,      nullptr,    nullptr},
    {"kvmclock",
     "kvm_nopiodelay",
     nullptr,
     "kvmclock2",
     "kvm_asyncpf",
     "kvm_steal_time",
     "kvm_pv_eoi",
     "kvm_pv_unhalt",
     nullptr,
     "kvm_pv_tlb_flush",
     nullptr,
     "kvm_pv_send_ipi",
     "kvm_poll_control",
     "kvm_pv_sched_yield",
     "kvm_asyncpf_int",
     "kvm_msi_ext_dest_id",
     nullptr,
     nullptr,
     nullptr,
     nullptr,
     nullptr,
     nullptr,
     nullptr,
     nullptr,
     "kvmclock_stable",
     nullptr,
     nullptr,
     nullptr,
     nullptr,
     nullptr,
     nullptr,
     nullptr},
}};

char register_letter(CpuidRegister reg) { return "abcd"[static_cast<std::size_t>(reg)]; }

}  // namespace

std::string cpu_feature_name(std::size_t word, unsigned index) {
  US_CHECK(word < kNames.size() && index < 32);
  if (const char* const name = kNames[word][index]; name != nullptr) return name;
  const auto& place = kCpuFeatureWords[word];
  return fmt::format("cpuid-{:x}.{}-e{}x-{}", place.leaf, place.subleaf, register_letter(place.reg), index);
}

}  // namespace understudy
