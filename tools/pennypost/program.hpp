#pragma once

#include <functional>
#include <string>
#include <vector>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include "tools/pennypost/session.hpp"

namespace tools {

struct Program {
  Session session;
  std::function<void()> run;  ///< the command that the line chose
};

/// Before any command is added: they take it over.
void use_plain_help(CLI::App& root);
/// A word that is followed by another: `pennypost domain ...`.
CLI::App* add_group(CLI::App& parent, const std::string& name, const std::string& description);
/// A command; `run` is called once the whole line has been understood.
CLI::App* add_command(CLI::App& parent, const std::string& name, const std::string& description, Program& program,
                      std::function<void()> run);
CLI::Option* add_argument(CLI::App* command, const std::string& name, std::string& value,
                          const std::string& description);

// One for each subject, in the file of its name.
void add_domain_commands(CLI::App& root, Program& program);
void add_mailbox_commands(CLI::App& root, Program& program);
void add_alias_commands(CLI::App& root, Program& program);
void add_message_commands(CLI::App& root, Program& program);
void add_queue_commands(CLI::App& root, Program& program);
void add_badmail_commands(CLI::App& root, Program& program);
void add_route_commands(CLI::App& root, Program& program);
void add_store_commands(CLI::App& root, Program& program);
void add_config_commands(CLI::App& root, Program& program);
void add_guard_commands(CLI::App& root, Program& program);
void add_daemon_commands(CLI::App& root, Program& program);

/// A command line with the command's words in front, so that options may stand anywhere.
struct Arranged {
  std::string command;             ///< "mailbox add"; as much of it as was found
  std::vector<std::string> words;  ///< last first, as CLI11 takes them
};
/// Refuses (usage) a command that does not exist.
Arranged arrange(const CLI::App& root, const std::vector<std::string>& line);

}  // namespace tools
