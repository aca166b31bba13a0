// What must hold in every explored state. Each function is told of something that happens, and names the rule that it breaks, or nullptr.
#pragma once

#include "tests/explore/world.h"

namespace understudy::explore {

using Broken = const char*;  // the rule's name; nullptr: none

// Whether a guest at `later` has `earlier` in its past.
bool in_past_of(const Ledger& ledger, Point earlier, Point later);

// The arbiter's record becomes this. `holder_image`: of the new holder, if it lives and holds one whole.
Broken granted(Ledger& ledger, const ArbiterRecord& record, bool holder_lives, const Point* holder_image);
// A takeover is asked for on `term`.
Broken takeover_asked(Term term, const Stable& stable);
// A node orders its gate to let output go, by ack or at once.
Broken gate_opened(const Ledger& ledger, std::uint8_t incarnation, std::uint8_t term, bool solo, const Stable& stable);
// A guest starts at `from`, as the branch `term`.
Broken guest_started(Ledger& ledger, std::uint8_t incarnation, std::uint8_t term, Point from, const Stable& stable);
Broken guest_resumed(const Ledger& ledger, std::uint8_t incarnation, std::uint8_t term, const Stable& stable);
// A frame leaves host `host`.
Broken released(Ledger& ledger, std::size_t host, const Process& process, Point frame);
// A secondary commits an epoch, and acks one.
void committed(Ledger& ledger, std::size_t host, std::uint8_t incarnation, Point image);
Broken acked(std::uint8_t term, const Stable& stable);

}  // namespace understudy::explore
