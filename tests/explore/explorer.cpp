#include "tests/explore/explorer.h"

#include <charconv>

#include "net/base/check.h"

namespace understudy::explore {
namespace {

// Digests of worlds, open addressing. Two different worlds with one 64-bit digest would hide one of them: among n worlds that is to be
// expected n^2 / 2^65 times, for a hundred million 0.0003 times.
class Seen {
 public:
  Seen() : slots_(1U << 16) {}
  bool insert(std::uint64_t digest) {
    if (digest == 0) digest = 1;
    if (used_ * 5 > slots_.size() * 3) grow();
    return put(digest);
  }

 private:
  bool put(std::uint64_t digest) {
    std::size_t at = digest & (slots_.size() - 1);
    while (slots_[at] != 0) {
      if (slots_[at] == digest) return false;
      at = (at + 1) & (slots_.size() - 1);
    }
    slots_[at] = digest;
    ++used_;
    return true;
  }
  void grow() {
    const std::vector<std::uint64_t> old = std::exchange(slots_, std::vector<std::uint64_t>(slots_.size() * 2));
    used_ = 0;
    for (const std::uint64_t digest : old)
      if (digest != 0) put(digest);
  }
  std::vector<std::uint64_t> slots_;
  std::size_t used_ = 0;
};

std::uint64_t digest_of(const World& world) { return XXH3_64bits(&world, sizeof world); }

std::uint16_t pack(const Choice& choice) { return static_cast<std::uint16_t>(choice.kind << 8 | choice.a << 4 | choice.b); }
Choice unpack(std::uint16_t packed) {
  return {static_cast<std::uint8_t>(packed >> 8), static_cast<std::uint8_t>(packed >> 4 & 15), static_cast<std::uint8_t>(packed & 15)};
}

bool reached(const NodeBook& book, const World& world, Root root) {
  const auto role = [&](std::size_t host) { return book.node(world.node[host]).status().role; };
  const bool b_is_up = world.process[1].incarnation != 0;
  switch (root) {
    case Root::kNewPair:
      return true;
    case Root::kProtected:
      return b_is_up && book.node(world.node[0]).status().is_protected && book.node(world.node[1]).status().eligible;
    case Root::kHalfWay:
      return b_is_up && role(0) == Role::kSolo && world.process[0].up != 0;
    case Root::kSolo:
      return !b_is_up && role(0) == Role::kSolo;
  }
  return false;
}

// Nothing fails on the way to a root; what is due happens in the order in which it is listed.
World advance(Model& model, const NodeBook& book, World world, Root root) {
  std::vector<Choice> choices;
  std::uint8_t captured_at = 255;  // an epoch a tick
  for (int i = 0; i < 10'000; ++i) {
    model.choices(world, choices);
    const bool due = !choices.empty() && model.is_due(choices.front());
    if (!due && reached(book, world, root)) return world;
    Choice next{Choice::kTick};
    if (due) {
      next = choices.front();
    } else {
      for (const Choice& choice : choices)
        if (choice.kind == Choice::kCapture && captured_at != world.time) next = choice;
      if (next.kind == Choice::kCapture) captured_at = world.time;
    }
    const Broken broken = model.apply(world, next);
    US_CHECK(broken == nullptr && world.time < 200);
  }
  US_CHECK(false);
}

World root_of(NodeBook& book, const Scenario& scenario) {
  Bounds calm;
  calm.horizon = 250;
  calm.budget[static_cast<std::size_t>(Cost::kCapture)] = 12;
  Model model{book, calm, Plant::kNothing};
  World world = model.new_pair();
  if (scenario.root == Root::kProtected) world = advance(model, book, world, Root::kProtected);
  if (scenario.root == Root::kSolo) {
    world = advance(model, book, world, Root::kProtected);
    world.budget[0] = world.budget[static_cast<std::size_t>(Cost::kCrash)] = 1;
    US_CHECK(model.apply(world, {Choice::kCrash, 1, 0}) == nullptr);
    world = advance(model, book, world, Root::kSolo);
  }
  if (scenario.root == Root::kHalfWay) world = advance(model, book, world, Root::kHalfWay);
  world.budget = scenario.bounds.budget;
  world.time = 0;
  return world;
}

}  // namespace

Findings explore(const Scenario& scenario, Plant plant, std::uint64_t limit, bool check_merges) {
  NodeBook book{scenario.config};
  book.check_merges(check_merges);
  Model model{book, scenario.bounds, plant};
  Findings found;
  Seen seen;
  // Of each world: whence and how. Only the two levels at hand are kept whole.
  std::vector<std::uint32_t> parents{0};
  std::vector<std::uint16_t> ways{0};
  std::vector<World> level{root_of(book, scenario)};
  std::vector<World> next;
  std::vector<Choice> choices;
  seen.insert(digest_of(level[0]));
  const auto trace_to = [&](std::size_t state) {
    std::vector<Choice> trace;
    for (; state != 0; state = parents[state]) trace.push_back(unpack(ways[state]));
    std::reverse(trace.begin(), trace.end());
    return trace;
  };
  std::size_t first = 0;
  while (!level.empty() && parents.size() < limit && found.broken.empty()) {
    next.clear();
    for (std::size_t i = 0; i < level.size() && parents.size() < limit; ++i) {
      model.choices(level[i], choices);
      for (const Choice& choice : choices) {
        World world = level[i];
        const Broken broken = model.apply(world, choice);
        ++found.transitions;
        if (broken != nullptr) {
          found.broken = broken;
          found.trace = trace_to(first + i);
          found.trace.push_back(choice);
          break;
        }
        if (!seen.insert(digest_of(world))) continue;
        parents.push_back(static_cast<std::uint32_t>(first + i));
        ways.push_back(pack(choice));
        next.push_back(world);
      }
      if (!found.broken.empty()) break;
    }
    first += level.size();
    if (!next.empty()) ++found.depth;
    std::swap(level, next);
  }
  found.complete = level.empty() && found.broken.empty();
  found.states = parents.size();
  found.nodes = book.nodes();
  found.node_steps = book.steps();
  found.checked_merges = book.checked_merges();
  found.false_merges = book.false_merges();
  return found;
}

std::string to_text(const std::vector<Choice>& trace) {
  std::string text;
  for (const Choice& choice : trace) {
    if (!text.empty()) text += ",";
    text += std::to_string(choice.kind) + "." + std::to_string(choice.a) + "." + std::to_string(choice.b);
  }
  return text;
}

std::optional<std::vector<Choice>> parse_trace(const std::string& text) {
  std::vector<Choice> trace;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at != end) {
    Choice choice;
    for (std::uint8_t* part : {&choice.kind, &choice.a, &choice.b}) {
      const auto [stopped, error] = std::from_chars(at, end, *part);
      if (error != std::errc{}) return std::nullopt;
      at = stopped;
      const char separator = part == &choice.b ? ',' : '.';
      if (at == end) {
        if (separator == '.') return std::nullopt;
      } else if (*at++ != separator) {
        return std::nullopt;
      }
    }
    trace.push_back(choice);
  }
  return trace;
}

Replay replay(const Scenario& scenario, Plant plant, const std::vector<Choice>& trace) {
  NodeBook book{scenario.config};
  Model model{book, scenario.bounds, plant};
  World world = root_of(book, scenario);
  Replay told;
  told.lines.push_back("begin: " + model.describe(world));
  std::vector<Choice> choices;
  for (const Choice& choice : trace) {
    model.choices(world, choices);
    told.possible = std::any_of(choices.begin(), choices.end(), [&](const Choice& one) { return pack(one) == pack(choice); });
    if (!told.possible) {
      told.lines.push_back("not possible here: " + to_text({choice}));
      return told;
    }
    told.lines.push_back(model.describe(world, choice));
    const Broken broken = model.apply(world, choice);
    told.lines.push_back("    " + model.describe(world));
    if (broken == nullptr) continue;
    told.broken = broken;
    told.lines.push_back("broken: " + told.broken);
    return told;
  }
  return told;
}

}  // namespace understudy::explore
