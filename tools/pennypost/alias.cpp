// pennypost alias: addresses whose mail goes to other addresses.

#include <algorithm>
#include <memory>

#include <fmt/format.h>

#include "tools/pennypost/await.hpp"
#include "tools/pennypost/names.hpp"
#include "tools/pennypost/pages.hpp"
#include "tools/pennypost/program.hpp"

namespace tools {
namespace {

struct AddArguments {
  std::string address;
  std::vector<std::string> targets;
  bool replace = false;
  bool if_not_exists = false;
};

mailstore::Alias need_alias(mailstore::DirectoryView& view, const GivenAddress& address) {
  auto found = need(view.alias(address.key), fmt::format("alias {} could not be read", address.key));
  if (found) return std::move(*found);
  if (need(view.mailbox(address.key), fmt::format("{} could not be read", address.key))) {
    fail(fmt::format("{} is a mailbox, not an alias; see 'pennypost mailbox show {}'", address.key, address.key));
  }
  need_local_domain(view, address.domain);
  fail(fmt::format("no alias {} here; see 'pennypost alias list {}' or check the spelling", address.key,
                   address.domain));
}

/// In the form the directory keeps, each once, in the order given; warns of those that nobody has yet.
std::vector<std::string> check_targets(mailstore::DirectoryView& view, const AddArguments& given) {
  std::vector<std::string> targets;
  for (const auto& text : given.targets) {
    const auto target = parse_given_address(text);
    const auto domain = need(view.domain(target.domain), fmt::format("domain {} could not be read", target.domain));
    if (std::ranges::find(targets, target.key) != targets.end()) continue;
    targets.push_back(target.key);
    // Elsewhere: who has it there, nobody here can know.
    if (!domain || domain->kind == mailstore::DomainKind::remote) continue;
    const bool held = need(view.mailbox(target.key), fmt::format("{} could not be read", target.key)).has_value() ||
                      need(view.alias(target.key), fmt::format("{} could not be read", target.key)).has_value();
    // Plus forms, postmaster and alias domains are found by other rules than an exact name.
    const bool plain = domain->kind == mailstore::DomainKind::local && !target.key.starts_with("postmaster@") &&
                       target.key.find('+') == std::string::npos;
    if (!held && plain)
      complain(fmt::format("warning: nobody has the address {} yet; add it, or its mail is refused", target.key));
  }
  return targets;
}

void add(Session& session, const AddArguments& given) {
  const auto address = parse_given_address(given.address);
  mailstore::Alias alias{.address = address.key};
  bool replaces = false;
  {
    const auto view = session.directory();
    need_local_domain(*view, address.domain);
    if (need(view->mailbox(address.key), fmt::format("{} could not be read", address.key))) {
      fail(
          fmt::format("{} is a mailbox already, and an address is one or the other; choose another, or remove it with "
                      "'pennypost mailbox "
                      "remove {}'",
                      address.key, address.key));
    }
    const auto there = need(view->alias(address.key), fmt::format("alias {} could not be read", address.key));
    replaces = there.has_value();
    if (there && !given.replace) {
      if (!given.if_not_exists) {
        fail(fmt::format("alias {} is already here; see 'pennypost alias show {}', or say --replace or --if-not-exists",
                         address.key, address.key));
      }
      session.report()(false, "added", "alias", address.key, fmt::format("alias {} is already here", address.key));
      return;
    }
    alias.targets = check_targets(*view, given);
  }
  std::string targets;
  for (const auto& target : alias.targets) targets += (targets.empty() ? "" : ", ") + target;
  need(run_awaitable(session.store().put_alias(std::move(alias))), fmt::format("alias {} was not added", address.key));
  session.report()(true, replaces ? "replaced" : "added", "alias", address.key,
                   fmt::format("alias {} {}: to {}", address.key, replaces ? "replaced" : "added", targets));
}

struct RemoveArguments {
  std::string address;
  bool if_exists = false;
};

void remove(Session& session, const RemoveArguments& given) {
  const auto address = parse_given_address(given.address);
  {
    const auto view = session.directory();
    if (given.if_exists && !need(view->alias(address.key), fmt::format("alias {} could not be read", address.key))) {
      session.report()(false, "removed", "alias", address.key, fmt::format("alias {} is not here", address.key));
      return;
    }
    need_alias(*view, address);
  }
  need(run_awaitable(session.store().remove_alias(address.key)), fmt::format("alias {} was not removed", address.key));
  session.report()(true, "removed", "alias", address.key, fmt::format("alias {} removed", address.key));
}

void list(Session& session, const std::string& text) {
  std::string domain;
  if (!text.empty()) {
    domain = parse_given_domain(text);
    need_local_domain(*session.directory(), domain);
  }
  List out(session.format(), {{"address", "ALIAS"}, {"targets", "TARGETS"}},
           "no aliases yet; add one with 'pennypost alias add sales@example.org name@example.org'");
  each_alias(session.store(), domain, [&](const mailstore::Alias& alias) { out.row({alias.address, alias.targets}); });
  out.end();
}

void show(Session& session, const std::string& text) {
  const auto alias = need_alias(*session.directory(), parse_given_address(text));
  Record out(session.format());
  out.field("address", "Alias", alias.address);
  out.field("targets", "Targets", alias.targets);
  out.print();
}

}  // namespace

void add_alias_commands(CLI::App& root, Program& program) {
  auto* group = add_group(root, "alias", "Addresses whose mail goes to others");
  auto& session = program.session;
  {
    auto given = std::make_shared<AddArguments>();
    auto* command = add_command(*group, "add", "Adds an alias", program, [&session, given] { add(session, *given); });
    add_argument(command, "ADDRESS", given->address, "The alias, as sales@example.org")->required();
    command->add_option("TARGET", given->targets, "The addresses that get its mail")->required()->type_name("");
    auto* replace =
        command->add_flag("--replace", given->replace, "If it is there, these targets take the place of the old ones");
    command->add_flag("--if-not-exists", given->if_not_exists, "Fine, and nothing changes, if it is there")
        ->excludes(replace);
  }
  {
    auto given = std::make_shared<RemoveArguments>();
    auto* command =
        add_command(*group, "remove", "Removes an alias", program, [&session, given] { remove(session, *given); });
    add_argument(command, "ADDRESS", given->address, "The alias")->required();
    command->add_flag("--if-exists", given->if_exists, "Fine if it is not there");
  }
  {
    auto domain = std::make_shared<std::string>();
    auto* command =
        add_command(*group, "list", "Lists aliases", program, [&session, domain] { list(session, *domain); });
    add_argument(command, "DOMAIN", *domain, "Of this domain alone");
  }
  auto address = std::make_shared<std::string>();
  auto* command =
      add_command(*group, "show", "Shows one alias", program, [&session, address] { show(session, *address); });
  add_argument(command, "ADDRESS", *address, "The alias")->required();
}

}  // namespace tools
