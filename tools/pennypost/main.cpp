// pennypost: manages domains, mailboxes, aliases, mail and the store, and speaks to the daemons. This file knows the
// commands and turns what came of them into words and an exit status; each subject has a file of its own.

#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "tools/pennypost/output.hpp"
#include "tools/pennypost/program.hpp"

namespace {

using tools::Status;

/// "mailbox add: what is wrong", or without the command when there is none.
std::string at_command(const std::string& command, std::string_view what) {
  return command.empty() ? std::string(what) : fmt::format("{}: {}", command, what);
}

std::string first_lower(std::string text) {
  if (text.size() > 1 && text[1] >= 'a' && text[1] <= 'z' && text[0] >= 'A' && text[0] <= 'Z') {
    text[0] = static_cast<char>(text[0] - 'A' + 'a');
  }
  while (text.ends_with('\n') || text.ends_with(' ')) text.pop_back();
  return text;
}

Status run(CLI::App& root, tools::Program& program, const std::vector<std::string>& line) {
  std::string command;
  try {
    auto arranged = tools::arrange(root, line);
    command = arranged.command;
    root.parse(arranged.words);
    program.run();
    return Status::done;
  } catch (const CLI::CallForHelp&) {
    tools::print(root.help());
    return Status::done;
  } catch (const CLI::CallForVersion& version) {
    tools::print(std::string(version.what()) + "\n");
    return Status::done;
  } catch (const CLI::ParseError& error) {
    const auto help = command.empty() ? "pennypost --help" : fmt::format("pennypost {} --help", command);
    tools::complain(at_command(command, fmt::format("{}; see '{}'", first_lower(error.what()), help)));
    return Status::usage;
  } catch (const tools::Failure& failure) {
    if (!failure.sentence.empty()) tools::complain(at_command(command, failure.sentence));
    return failure.status;
  } catch (const std::exception& exception) {
    tools::complain(at_command(command, exception.what()));
    return Status::failed;
  }
}

}  // namespace

int main(int argc, char** argv) {
  auto status = Status::failed;
  {
    tools::Program program;
    CLI::App root{"Manages the domains, mailboxes, aliases and mail of a Pennypost post office, and its daemons.",
                  "pennypost"};
    root.set_version_flag("--version", "pennypost " PENNYPOST_VERSION, "Prints the version and exits");
    root.set_help_flag("-h,--help", "Prints this help and exits");
    root.add_option("-c,--config", program.session.config_option,
                    "The configuration; else $PENNYPOST_CONFIG, else /etc/pennypost/pennypost.toml")
        ->type_name("FILE");
    root.add_flag("--json", program.session.json_option, "Prints JSON");
    root.require_subcommand(1);
    tools::use_plain_help(root);
    tools::add_domain_commands(root, program);
    tools::add_mailbox_commands(root, program);
    tools::add_alias_commands(root, program);
    tools::add_message_commands(root, program);
    tools::add_queue_commands(root, program);
    tools::add_badmail_commands(root, program);
    tools::add_route_commands(root, program);
    tools::add_store_commands(root, program);
    tools::add_config_commands(root, program);
    tools::add_guard_commands(root, program);
    tools::add_daemon_commands(root, program);
    status = run(root, program, std::vector<std::string>(argv + 1, argv + argc));
  }
  if (!tools::finish_output() && status == Status::done) {
    tools::complain("the output could not be written whole; look at the disk or the program behind the pipe");
    status = Status::failed;
  }
  return static_cast<int>(status);
}
