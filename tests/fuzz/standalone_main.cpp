// Feeds a fuzz target without libFuzzer: random inputs and mutations of a corpus, each fixed by the seed and its number alone.
#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <unistd.h>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Input = std::vector<std::uint8_t>;
constexpr std::size_t kMaxInputBytes = 4096;

std::uint64_t g_seed = 1;
std::uint64_t g_run = 0;

// Only what a signal handler may do.
void write_number(std::uint64_t number) {
  char digits[20];
  std::size_t count = 0;
  do {
    digits[sizeof digits - ++count] = static_cast<char>('0' + number % 10);
    number /= 10;
  } while (number != 0);
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, digits + sizeof digits - count, count);
}
void write_text(const char* text) { [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text, std::strlen(text)); }
void on_crash(int signal) {
  write_text("fuzz: died; repeat with --seed ");
  write_number(g_seed);
  write_text(" --run ");
  write_number(g_run);
  write_text("\n");
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

class Generator {
 public:
  Generator(std::uint64_t seed, std::uint64_t run) : random_{seed * 0x9E37'79B9'7F4A'7C15 + run} {}

  Input fresh() {
    Input input(below(below(8) == 0 ? kMaxInputBytes : 256));
    // Small numbers reach further than uniform bytes: they are indexes, lengths and operations.
    const std::uint64_t small_in_16 = below(17);
    for (auto& byte : input) byte = static_cast<std::uint8_t>(below(16) < small_in_16 ? below(16) : below(256));
    return input;
  }
  void mutate(Input& input) {
    for (std::uint64_t left = 1 + below(8); left > 0; --left) {
      if (input.empty()) input.push_back(0);
      const std::size_t at = below(input.size());
      const std::size_t length = std::min<std::size_t>(1 + below(32), input.size() - at);
      const auto from = input.begin() + static_cast<std::ptrdiff_t>(at);
      switch (below(6)) {
        case 0:
          input[at] ^= static_cast<std::uint8_t>(1u << below(8));
          break;
        case 1:
          input[at] = static_cast<std::uint8_t>(below(256));
          break;
        case 2:
          input[at] = kEdges[below(std::size(kEdges))];
          break;
        case 3:
          input.erase(from, from + static_cast<std::ptrdiff_t>(length));
          break;
        case 4: {
          const Input copy(from, from + static_cast<std::ptrdiff_t>(length));
          if (input.size() + copy.size() <= kMaxInputBytes)
            input.insert(input.begin() + static_cast<std::ptrdiff_t>(below(input.size() + 1)), copy.begin(), copy.end());
          break;
        }
        default: {
          const Input more = fresh();
          const auto count = std::min(more.size(), kMaxInputBytes - input.size());
          input.insert(input.end(), more.begin(), more.begin() + static_cast<std::ptrdiff_t>(count));
        }
      }
    }
  }
  std::size_t below(std::size_t bound) { return random_() % bound; }

 private:
  static constexpr std::uint8_t kEdges[] = {0x00, 0x01, 0x7F, 0x80, 0xFF};
  std::mt19937_64 random_;
};

Input input_of(std::uint64_t run, const std::vector<Input>& corpus) {
  if (run < corpus.size()) return corpus[run];
  Generator generator{g_seed, run};
  if (!corpus.empty() && generator.below(2) == 0) {
    Input input = corpus[generator.below(corpus.size())];
    generator.mutate(input);
    return input;
  }
  Input input = generator.fresh();
  if (generator.below(2) == 0) generator.mutate(input);
  return input;
}

std::vector<Input> read_corpus(const char* folder) {
  std::vector<std::filesystem::path> paths;
  std::error_code missing;
  for (const auto& entry : std::filesystem::directory_iterator{folder, missing})
    if (entry.is_regular_file()) paths.push_back(entry.path());
  std::ranges::sort(paths);  // the order of the folder must not matter
  std::vector<Input> corpus;
  for (const auto& path : paths) {
    std::ifstream file{path, std::ios::binary};
    corpus.emplace_back(std::istreambuf_iterator<char>{file}, std::istreambuf_iterator<char>{});
  }
  return corpus;
}

}  // namespace

int main(int argc, char** argv) {
  std::uint64_t runs = 10'000;
  bool only_one = false;
  std::vector<Input> corpus;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const auto number = [&] { return i + 1 < argc ? std::strtoull(argv[++i], nullptr, 10) : 0; };
    if (argument == "--seed") {
      g_seed = number();
    } else if (argument == "--runs") {
      runs = number();
    } else if (argument == "--run") {
      g_run = number();
      only_one = true;
    } else if (argument.starts_with("--")) {
      std::fprintf(stderr, "usage: %s [--seed N] [--runs N | --run N] [corpus folder]\n", argv[0]);
      return 2;
    } else {
      corpus = read_corpus(argv[i]);
    }
  }
  for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE}) std::signal(signal, on_crash);
  const std::uint64_t end = only_one ? g_run + 1 : runs;
  for (; g_run < end; ++g_run) {
    const Input input = input_of(g_run, corpus);
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  std::printf("fuzz: %llu runs of seed %llu, corpus of %zu\n", static_cast<unsigned long long>(only_one ? 1 : runs),
              static_cast<unsigned long long>(g_seed), corpus.size());
  return 0;
}
