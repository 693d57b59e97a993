// pennypost config, pennypost server check: what is wrong with the configuration, and what is in force.

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>

#include <fmt/format.h>

#include "common/config/config.hpp"
#include "tools/pennypost/failure.hpp"
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

/// The file of one virtual server, beside the suite's; refused when there is none.
std::filesystem::path file_of(const std::filesystem::path& config, const std::string& server) {
  auto file = config.parent_path() / "servers" / (server + ".toml");
  std::error_code error;
  if (server.find('/') != server.npos || !std::filesystem::exists(file, error)) {
    fail(fmt::format("there is no server \"{}\": no file {}; 'pennypost config show' lists those that there are",
                     server, file.string()));
  }
  return file;
}

/// What is wrong with the suite, or with one virtual server of it.
void check(Session& session, const std::string& server) {
  const auto path = common::config::config_path(session.config_option);
  const auto only = server.empty() ? std::filesystem::path{} : file_of(path, server);
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
  if (!only.empty()) std::erase_if(mistakes, [&](const Mistake& mistake) { return mistake.file != only; });
  const bool broken = std::ranges::any_of(mistakes, [](const Mistake& mistake) { return !mistake.warning; });
  if (session.format() == Format::json) {
    print_json(mistakes);
  } else {
    for (const auto& mistake : mistakes) {
      complain((mistake.warning ? "warning: " : "") + common::config::format_mistake(mistake));
    }
    if (!broken && !only.empty()) print(shown(fmt::format("{}: in order", only.string())) + "\n");
    if (!broken && only.empty())
      print(shown(fmt::format("{}: in order, {}", path.string(), counted(servers, "server"))) + "\n");
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
              [&session] { check(session, {}); });
  auto defaults = std::make_shared<bool>(false);
  auto* command = add_command(*group, "show", "Prints the configuration that is in force", program,
                              [&session, defaults] { show(session, *defaults); });
  command->add_flag("--defaults", *defaults, "Keys left at their default too");

  auto* servers = add_group(root, "server", "The virtual servers, one file each");
  auto name = std::make_shared<std::string>();
  auto* of_one = add_command(*servers, "check", "Checks the configuration of one virtual server, or of all", program,
                             [&session, name] { check(session, *name); });
  add_argument(of_one, "NAME", *name, "The server: its file's name without .toml")->required(false);
}

}  // namespace tools
