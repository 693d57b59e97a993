#include "tools/pennypost/program.hpp"

#include <algorithm>
#include <memory>
#include <set>

#include <fmt/format.h>

namespace tools {
namespace {

/// Options that are followed by a value, in every command: an option means the same wherever it occurs.
void collect_valued(const CLI::App& app, std::set<std::string>& names) {
  for (const auto* option : app.get_options()) {
    if (option->get_items_expected_max() == 0 || option->get_positional()) continue;
    for (const auto& name : option->get_lnames()) names.insert("--" + name);
    for (const auto& name : option->get_snames()) names.insert("-" + name);
  }
  for (const auto* command : app.get_subcommands({})) collect_valued(*command, names);
}

const CLI::App* find_command(const CLI::App& app, const std::string& name) {
  for (const auto* command : app.get_subcommands({})) {
    if (command->get_name() == name) return command;
  }
  return nullptr;
}

std::string names_of_commands(const CLI::App& app) {
  std::string names;
  for (const auto* command : app.get_subcommands({})) names += (names.empty() ? "" : ", ") + command->get_name();
  return names;
}

/// What an option takes, and nothing of what excludes what: the manual has that.
class PlainHelp : public CLI::Formatter {
 public:
  std::string make_option_opts(const CLI::Option* option) const override {
    std::string text;
    if (!option->get_type_name().empty() && option->get_items_expected_max() > 0) text = " " + option->get_type_name();
    if (option->get_expected_max() > 1) text += " ...";
    return text;
  }
};

}  // namespace

void use_plain_help(CLI::App& root) {
  root.formatter(std::make_shared<PlainHelp>());
}

CLI::App* add_group(CLI::App& parent, const std::string& name, const std::string& description) {
  auto* group = parent.add_subcommand(name, description);
  group->fallthrough();
  group->require_subcommand(1);
  return group;
}

CLI::App* add_command(CLI::App& parent, const std::string& name, const std::string& description, Program& program,
                      std::function<void()> run) {
  auto* command = parent.add_subcommand(name, description);
  command->fallthrough();
  command->callback([&program, run = std::move(run)] { program.run = run; });
  command->footer("With every command: -c FILE, --json, --version, -h; see 'pennypost --help'.");
  return command;
}

CLI::Option* add_argument(CLI::App* command, const std::string& name, std::string& value,
                          const std::string& description) {
  return command->add_option(name, value, description)->type_name("");
}

Arranged arrange(const CLI::App& root, const std::vector<std::string>& line) {
  std::set<std::string> valued;
  collect_valued(root, valued);
  std::vector<std::string> front;
  std::vector<std::string> rest;
  const CLI::App* at = &root;
  bool helped = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const auto& word = line[i];
    if (word == "--") {
      rest.insert(rest.end(), line.begin() + static_cast<std::ptrdiff_t>(i), line.end());
      break;
    }
    if (word.size() > 1 && word[0] == '-') {
      rest.push_back(word);
      helped = helped || word == "--help" || word == "-h" || word == "--version";
      if (valued.contains(word) && i + 1 < line.size()) rest.push_back(line[++i]);
      continue;
    }
    if (at->get_subcommands({}).empty()) {
      rest.push_back(word);
      continue;
    }
    const auto* next = find_command(*at, word);
    const std::string place = at == &root ? "" : at->get_name() + " ";
    if (next == nullptr)
      refuse(fmt::format("{}{}: no such command; there are: {}", place, word, names_of_commands(*at)));
    front.push_back(word);
    at = next;
  }
  if (!at->get_subcommands({}).empty() && !helped) {
    const std::string place = at == &root ? "" : at->get_name() + ": ";
    refuse(fmt::format("{}a command is missing; there are: {}", place, names_of_commands(*at)));
  }
  Arranged arranged;
  for (const auto& word : front) arranged.command += (arranged.command.empty() ? "" : " ") + word;
  arranged.words = std::move(front);
  arranged.words.insert(arranged.words.end(), rest.begin(), rest.end());
  std::reverse(arranged.words.begin(), arranged.words.end());
  return arranged;
}

}  // namespace tools
