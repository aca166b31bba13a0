// The memory torture on one vCPU (torture_layout.h): runs the passes and checks what only a whole walk can see.
#pragma once

#include <cstdint>

#include "tests/guest/cpu.h"
#include "tests/guest/torture_layout.h"

namespace understudy::guest {

// What guest_torture_passes works with; offsets are known to torture_pass.S.
struct TortureCpu {
  std::uint64_t hot;
  std::uint64_t shared;
  std::uint64_t cold;
  std::uint64_t cell_offset;
  volatile std::uint64_t* published;
  CpuBlock* block;
  std::uint64_t what;
  std::uint64_t at;
  std::uint64_t found;
  std::uint64_t expected;
};
static_assert(sizeof(TortureCpu) == 80);

class Torture {
 public:
  // `cpu` is the calling vCPU, `index` its place among the torturing ones.
  void start(const TortureLayout& layout, CpuBlock& cpu, std::uint32_t index);
  // Some hundred passes, and now and then a check of every cold page; under a millisecond. A contradiction stops the guest.
  void step();

 private:
  void check_cold();
  void check_shared();

  TortureLayout layout_;
  TortureCpu cpu_{};
  std::uint32_t index_ = 0;
  std::uint64_t passes_ = 0;
  std::uint64_t steps_ = 0;
};

}  // namespace understudy::guest
