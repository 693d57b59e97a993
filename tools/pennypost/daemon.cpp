// pennypost status, pennypost reload: spoken to the daemons through their control sockets.

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "common/daemon/control_client.hpp"
#include "tools/pennypost/program.hpp"

namespace tools {
namespace {

using nlohmann::json;

constexpr std::array<std::string_view, 2> daemons = {"smtpd", "pop3d"};

struct Answer {
  std::string_view daemon;
  std::optional<json> facts;  ///< nullopt: there was no answer, or a refusal
  std::string trouble;
  bool refused = false;
};

/// Those that have a server to run; another one that runs all the same is not passed over.
bool is_configured(const common::config::Config& config, std::string_view daemon) {
  return std::ranges::any_of(config.servers, [&](const common::config::Server& server) {
    return (server.kind == common::config::Kind::pop3) == (daemon == "pop3d");
  });
}

Answer ask(Session& session, std::string_view daemon, std::string_view command) {
  const auto socket = common::daemon::control_path(session.config().suite.run.directory, daemon);
  auto answer = common::daemon::ask(socket, command);
  if (!answer) return {daemon, std::nullopt, answer.error()};
  if (!answer->value("ok", false)) {
    const auto reason = answer->value("error", std::string("it gave no reason"));
    return {daemon, std::nullopt, fmt::format("{}: {}", daemon, reason), true};
  }
  answer->erase("ok");
  return {daemon, std::move(*answer), {}};
}

/// What each daemon says.
std::vector<Answer> ask_all(Session& session, std::string_view command) {
  std::vector<Answer> answers;
  for (const auto daemon : daemons) {
    auto answer = ask(session, daemon, command);
    if (answer.facts || answer.refused || is_configured(session.config(), daemon)) answers.push_back(std::move(answer));
  }
  if (answers.empty())
    refuse("no server is configured, so no daemon runs; write a file in servers/ beside pennypost.toml");
  return answers;
}

std::string dump(const json& value) {
  return value.dump(-1, ' ', true, json::error_handler_t::replace);
}

std::string text_of(const json& value) {
  return value.is_string() ? value.get<std::string>() : dump(value);
}

void print_addresses(const json& addresses) {
  for (const auto& one : addresses) {
    print(fmt::format("  {:<13}{}{}  ({})\n", "listens on", shown(one.value("address", "?")),
                      one.value("tls", false) ? ", TLS" : "", shown(one.value("server", "?"))));
  }
}

/// One line for each figure, named by its keys: "connections open".
void print_figures(const std::string& name, const json& value) {
  if (value.is_object()) {
    for (const auto& [key, inner] : value.items()) {
      print_figures(name.empty() ? key : fmt::format("{} {}", name, key), inner);
    }
    return;
  }
  print(fmt::format("  {:<30}{}\n", shown(name), shown(text_of(value))));
}

void print_status(const Answer& answer) {
  const auto& facts = *answer.facts;
  print(shown(fmt::format("{}: runs since {} as process {} of user {}, version {}", answer.daemon,
                          facts.value("started", "?"), facts.contains("pid") ? dump(facts["pid"]) : "?",
                          facts.value("user", "?"), facts.value("version", "?"))) +
        "\n");
  for (const auto& [key, value] : facts.items()) {
    if (key == "started" || key == "pid" || key == "user" || key == "version" || key == "name") continue;
    if (key == "addresses") {
      print_addresses(value);
    } else {
      print_figures(key, value);
    }
  }
}

void status(Session& session) {
  const bool as_json = session.format() == Format::json;
  bool all = true;
  std::string objects;
  for (const auto& answer : ask_all(session, "status")) {
    all = all && answer.facts.has_value();
    if (as_json) {
      json object = answer.facts.value_or(json::object());
      object["name"] = answer.daemon;
      object["running"] = answer.facts.has_value();
      if (!answer.facts) object["error"] = answer.trouble;
      objects += (objects.empty() ? "[\n  " : ",\n  ") + dump(object);
    } else if (answer.facts) {
      print_status(answer);
    } else {
      print(shown(answer.trouble) + "\n");
    }
  }
  if (as_json) print(objects + "\n]\n");
  if (!all) throw Failure{Status::failed, {}};
}

/// A configuration may have several mistakes, each in a line of its own.
void complain_of(const Answer& answer) {
  std::string_view rest = answer.trouble;
  for (;;) {
    const auto end = rest.find('\n');
    complain(fmt::format("reload: {}", rest.substr(0, end)));
    if (end == rest.npos) break;
    rest.remove_prefix(end + 1);
  }
  if (answer.refused) complain(fmt::format("reload: {} goes on as before", answer.daemon));
}

void reload(Session& session) {
  const bool as_json = session.format() == Format::json;
  bool all = true;
  std::string objects;
  for (const auto& answer : ask_all(session, "reload")) {
    all = all && answer.facts.has_value();
    std::vector<std::string> notes;
    if (answer.facts) notes = answer.facts->value("notes", notes);
    if (as_json) {
      Record object(Format::json);
      object.field("name", "", std::string(answer.daemon));
      object.field("reloaded", "", answer.facts.has_value());
      object.field("notes", "", notes);
      if (!answer.facts) object.field("error", "", answer.trouble);
      objects += (objects.empty() ? "[\n  " : ",\n  ") + object.json();
    } else if (answer.facts) {
      print(fmt::format("{}: configuration read again\n", answer.daemon));
      for (const auto& note : notes) print("  " + shown(note) + "\n");
    } else {
      complain_of(answer);
    }
  }
  if (as_json) print(objects + "\n]\n");
  if (!all) throw Failure{Status::failed, {}};
}

}  // namespace

void add_daemon_commands(CLI::App& root, Program& program) {
  auto& session = program.session;
  add_command(root, "status", "Asks both daemons how they are", program, [&session] { status(session); });
  add_command(root, "reload", "Has both daemons read the configuration and the certificates again", program,
              [&session] { reload(session); });
}

}  // namespace tools
