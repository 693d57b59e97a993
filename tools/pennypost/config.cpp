// pennypost config: what is wrong with the configuration, and what is in force.

#include <algorithm>
#include <memory>

#include <fmt/format.h>

#include "common/config/config.hpp"
#include "tools/pennypost/program.hpp"
#include "tools/pennypost/readable.hpp"

namespace tools {
namespace {

using common::config::Mistake;

void print_json(const std::vector<Mistake>& mistakes) {
  List out(Format::json, {{"file", ""}, {"line", ""}, {"key", ""}, {"what", ""}, {"remedy", ""}, {"warning", ""}}, "");
  for (const auto& mistake : mistakes) {
    out.row({mistake.file.string(), mistake.line == 0 ? Cell{} : Cell{std::uint64_t{mistake.line}},
             mistake.key.empty() ? Cell{} : Cell{mistake.key}, mistake.what, mistake.remedy, mistake.warning});
  }
  out.end();
}

void check(Session& session) {
  const auto path = common::config::config_path(session.config_option);
  auto loaded = common::config::load(path);
  std::vector<Mistake> mistakes;
  std::size_t servers = 0;
  if (loaded) {
    mistakes = std::move(loaded->warnings);
    const auto outside = check_surroundings(loaded->config);
    mistakes.insert(mistakes.end(), outside.begin(), outside.end());
    servers = loaded->config.servers.size();
  } else {
    mistakes = std::move(loaded.error());
  }
  const bool broken = std::ranges::any_of(mistakes, [](const Mistake& mistake) { return !mistake.warning; });
  if (session.format() == Format::json) {
    print_json(mistakes);
  } else {
    for (const auto& mistake : mistakes) {
      complain((mistake.warning ? "warning: " : "") + common::config::format_mistake(mistake));
    }
    if (!broken) print(shown(fmt::format("{}: in order, {}", path.string(), counted(servers, "server"))) + "\n");
  }
  if (broken) throw Failure{Status::usage, {}};
}

void show(Session& session, bool defaults) {
  const auto& config = session.config();
  if (session.format() == Format::json) {
    List out(Format::json, {{"file", ""}, {"toml", ""}}, "");
    out.row({config.file.string(), common::config::show_suite(config, defaults)});
    for (const auto& server : config.servers)
      out.row({server.file.string(), common::config::show_server(server, defaults)});
    out.end();
    return;
  }
  // The text was parsed without control characters, so it may go to a terminal as it is.
  print(fmt::format("# {}\n{}", shown(config.file.string()), common::config::show_suite(config, defaults)));
  for (const auto& server : config.servers) {
    print(fmt::format("\n# {}\n{}", shown(server.file.string()), common::config::show_server(server, defaults)));
  }
}

}  // namespace

void add_config_commands(CLI::App& root, Program& program) {
  auto* group = add_group(root, "config", "What the daemons do");
  auto& session = program.session;
  add_command(*group, "check", "Checks the configuration and the keys and folders it names", program,
              [&session] { check(session); });
  auto defaults = std::make_shared<bool>(false);
  auto* command = add_command(*group, "show", "Prints the configuration that is in force", program,
                              [&session, defaults] { show(session, *defaults); });
  command->add_flag("--defaults", *defaults, "Keys left at their default too");
}

}  // namespace tools
