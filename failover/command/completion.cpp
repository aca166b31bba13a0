// `understudy completion bash`: made of the app's own description, so that it knows what the program knows.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "failover/command/command.h"

namespace understudy::command {

namespace {

// "--json --watch": the words that name an app's options.
std::vector<std::string> option_words(const CLI::App& app) {
  std::vector<std::string> words;
  for (const CLI::Option* const option : app.get_options())
    for (const std::string& name : option->get_lnames()) words.push_back("--" + name);
  return words;
}

// After which word a value follows, and no other word.
std::vector<std::string> valued_words(const CLI::App& app) {
  std::vector<std::string> words;
  for (const CLI::Option* const option : app.get_options())
    if (option->get_items_expected_max() > 0)
      for (const std::string& name : option->get_lnames()) words.push_back("--" + name);
  return words;
}

std::vector<std::string> words_with_files(const CLI::App& app) {
  std::vector<std::string> words;
  for (const std::string& word : valued_words(app))
    if (word == "--config" || word == "--socket" || word == "--state") words.push_back(word);
  return words;
}

// A line of a bash `case`, or nothing.
std::string case_line(const std::string& pattern, const std::string& action) {
  return pattern.empty() ? "" : fmt::format("    {}) {};;\n", pattern, action);
}

}  // namespace

std::string bash_completion(const CLI::App& app) {
  std::vector<std::string> commands;
  std::string per_command;
  for (const CLI::App* const command : app.get_subcommands(nullptr)) {
    commands.push_back(command->get_name());
    std::vector<std::string> words = option_words(*command);
    for (const CLI::App* const nested : command->get_subcommands(nullptr)) words.push_back(nested->get_name());
    per_command += case_line(command->get_name(), fmt::format("offered=\"{}\"", fmt::join(words, " ")));
  }
  std::vector<std::string> files = words_with_files(app);
  std::vector<std::string> valued = valued_words(app);
  for (const CLI::App* const command : app.get_subcommands(nullptr)) {
    for (const std::string& word : words_with_files(*command)) files.push_back(word);
    for (const std::string& word : valued_words(*command)) valued.push_back(word);
  }
  return fmt::format(
      "# bash completion of {0}; use it with: source <({0} completion bash)\n"
      "_{0}() {{\n"
      "  local current=\"${{COMP_WORDS[COMP_CWORD]}}\" before=\"${{COMP_WORDS[COMP_CWORD-1]}}\" command=\"\" offered=\"\" i\n"
      "  COMPREPLY=()\n"
      "  case \"$before\" in\n{1}{2}  esac\n"
      "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
      "    case \"${{COMP_WORDS[i-1]}}\" in {3}) continue;; esac\n"
      "    case \"${{COMP_WORDS[i]}}\" in -*) ;; *) command=\"${{COMP_WORDS[i]}}\"; break;; esac\n"
      "  done\n"
      "  case \"$command\" in\n"
      "    \"\") offered=\"{4} {5}\";;\n{6}  esac\n"
      "  COMPREPLY=($(compgen -W \"$offered\" -- \"$current\"))\n"
      "}}\n"
      "complete -F _{0} {0}\n",
      app.get_name(), case_line(fmt::format("{}", fmt::join(files, "|")), "COMPREPLY=($(compgen -f -- \"$current\")); return"),
      case_line(fmt::format("{}", fmt::join(valued, "|")), "return"), fmt::join(valued, "|"), fmt::join(commands, " "),
      fmt::join(option_words(app), " "), per_command);
}

void add_completion(CLI::App& app, Invocation& invocation) {
  CLI::App* const completion =
      add_command(app, "completion", "a script that lets a shell complete this program's words", "source <(understudy completion bash)");
  const auto shell = std::make_shared<std::string>();
  completion->add_option("SHELL", *shell, "which shell")->required()->check(CLI::IsMember({"bash"}));
  completion->callback([&app, &invocation] {
    invocation.run = [&app] {
      print(bash_completion(app));
      return kDone;
    };
  });
}

}  // namespace understudy::command
