#include "failover/daemon/verification.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "failover/daemon/json.h"

namespace understudy {

std::string sentence_of(const Verification& found) {
  const std::string where = fmt::format("at the ends of epochs {} to {} of term {}", found.from.raw(), found.to.raw(), found.term.raw());
  if (found.same()) return fmt::format("the same on both nodes: {} pages of memory and the machine's state, {}", found.pages, where);
  std::vector<std::string> what;
  if (found.differing > 0) {
    std::vector<std::uint64_t> pages;
    for (const PageIndex page : found.examples) pages.push_back(page.raw());
    what.push_back(fmt::format("{} of {} pages of memory (the first: {}), which were sent again: verify again", found.differing,
                               found.pages, fmt::join(pages, ", ")));
  }
  if (found.state_differs) what.emplace_back("the machine's state");
  return fmt::format("NOT the same on both nodes, {}: {}", where, fmt::join(what, "; "));
}

void write_verification(const Verification& found, schema::Verification::Builder out) {
  out.setSame(found.same());
  out.setTerm(found.term.raw());
  out.setFromEpoch(found.from.raw());
  out.setToEpoch(found.to.raw());
  out.setPages(found.pages);
  out.setDiffering(found.differing);
  auto examples = out.initExamples(static_cast<unsigned>(found.examples.size()));
  for (unsigned i = 0; i < examples.size(); ++i) examples.set(i, found.examples[i].raw());
  out.setStateDiffers(found.state_differs);
}

std::string verification_as_json(schema::Verification::Reader verification) { return as_json(verification, JsonForm::kIndented); }

}  // namespace understudy
