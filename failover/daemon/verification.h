// What was found when the guest's memory and state were compared with the peer's image, in words and for --json. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "failover/daemon/operator.capnp.h"
#include "net/base/ids.h"

namespace understudy {

struct Verification {
  Term term;
  Epoch from, to;  // each page was compared at the end of one of these
  std::uint64_t pages = 0;
  std::uint64_t differing = 0;
  std::vector<PageIndex> examples{};  // the first of them
  bool state_differs = false;

  bool same() const { return differing == 0 && !state_differs; }
};

std::string sentence_of(const Verification& found);
void write_verification(const Verification& found, schema::Verification::Builder out);
std::string verification_as_json(schema::Verification::Reader verification);

}  // namespace understudy
