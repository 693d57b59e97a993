// pennypost mailbox: the people of our domains.

#include <memory>

#include <fmt/format.h>

#include "common/auth/password.hpp"
#include "tools/pennypost/await.hpp"
#include "tools/pennypost/limits.hpp"
#include "tools/pennypost/names.hpp"
#include "tools/pennypost/pages.hpp"
#include "tools/pennypost/program.hpp"
#include "tools/pennypost/prompt.hpp"

namespace tools {
namespace {

mailstore::Credential make_credential(const common::Secret& password) {
  auto hashes = common::auth::make_hashes(password);
  if (!hashes) refuse(fmt::format("this password cannot be used: {}; choose another", hashes.error()));
  return {.password_hash = std::move(hashes->password_hash), .scram_sha256 = std::move(hashes->scram_sha256)};
}

/// What a hash is, without the hash: "argon2id", "yescrypt", ...
std::string scheme_of(const std::string& hash) {
  constexpr std::pair<std::string_view, std::string_view> schemes[] = {
      {"$argon2id$", "argon2id"}, {"$y$", "yescrypt"}, {"$6$", "sha512-crypt"},
      {"$5$", "sha256-crypt"},    {"$2", "bcrypt"},    {"$1$", "md5-crypt"}};
  for (const auto& [prefix, name] : schemes) {
    if (hash.starts_with(prefix)) return std::string(name);
  }
  return "crypt";
}

bool has_password(const mailstore::Mailbox& mailbox) {
  return !mailbox.credential.password_hash.empty();
}

struct Limits {
  std::string quota = "0";
  std::string max_messages = "0";
};

void add_limit_options(CLI::App* command, const std::shared_ptr<Limits>& limits) {
  command->add_option("--quota", limits->quota, "Most octets it holds; 0: no limit (others: not supported yet)")
      ->type_name("SIZE");
  command
      ->add_option("--max-messages", limits->max_messages,
                   "Most messages it holds; 0: no limit (others: not supported yet)")
      ->type_name("N");
}

/// A limit that is written down and not kept would be a lie: until limits are kept, only "none" is taken.
void check_limits(const Limits& limits) {
  const auto quota = parse_size(limits.quota);
  if (!quota) refuse(fmt::format("--quota {}: not a size; write octets, or a number with KB, MB or GB", limits.quota));
  if (*quota != 0) refuse(fmt::format("--quota {}: not supported yet; leave it away or say 0, no limit", limits.quota));
  const auto messages = parse_count(limits.max_messages);
  if (!messages) refuse(fmt::format("--max-messages {}: not a number; write digits", limits.max_messages));
  if (*messages != 0)
    refuse(fmt::format("--max-messages {}: not supported yet; leave it away or say 0, no limit", limits.max_messages));
}

struct AddArguments {
  std::string address;
  bool password_stdin = false;
  bool no_password = false;
  std::string hash;
  bool hash_given = false;
  bool if_not_exists = false;
};

/// Looks before anybody is asked for a password. True: it is there, and that is fine.
bool check_free(mailstore::DirectoryView& view, const GivenAddress& address, bool if_not_exists) {
  need_local_domain(view, address.domain);
  if (need(view.alias(address.key), fmt::format("{} could not be read", address.key))) {
    fail(fmt::format("{} is an alias already; choose another address, or remove it with 'pennypost alias remove {}'",
                     address.key, address.key));
  }
  if (!need(view.mailbox(address.key), fmt::format("mailbox {} could not be read", address.key))) return false;
  if (!if_not_exists) {
    fail(fmt::format("mailbox {} is already here; see 'pennypost mailbox show {}', or say --if-not-exists", address.key,
                     address.key));
  }
  return true;
}

mailstore::Credential credential_for(const AddArguments& given, const GivenAddress& address) {
  if (given.no_password) return {};
  if (given.hash_given) {
    auto hash = common::auth::accept_hash(given.hash);
    if (!hash) refuse(fmt::format("--hash: {}", hash.error()));
    return {.password_hash = std::move(*hash)};
  }
  return make_credential(read_new_password(address.key, given.password_stdin));
}

void add(Session& session, const AddArguments& given) {
  const auto address = parse_given_address(given.address);
  if (check_free(*session.directory(), address, given.if_not_exists)) {
    session.report()(false, "added", "mailbox", address.key, fmt::format("mailbox {} is already here", address.key));
    return;
  }
  mailstore::NewMailbox mailbox{
      .address = address.key, .display = address.display, .credential = credential_for(given, address)};
  auto added = run_awaitable(session.store().add_mailbox(std::move(mailbox)));
  need(std::move(added), fmt::format("mailbox {} was not added", address.key));
  session.report()(true, "added", "mailbox", address.key,
                   fmt::format("mailbox {} added{}", address.key, given.no_password ? ", without a password" : ""));
}

void set(Session& session, const std::string& text, const Limits& limits, bool given) {
  const auto address = parse_given_address(text);
  if (!given) refuse("nothing to set; give --quota or --max-messages");
  check_limits(limits);
  const auto before = need_mailbox(*session.directory(), address);
  if (before.quota_octets == 0 && before.quota_messages == 0) {
    session.report()(false, "set", "mailbox", address.key,
                     fmt::format("mailbox {} has no limits already", address.key));
    return;
  }
  mailstore::MailboxChange change;
  change.quota_octets = 0;
  change.quota_messages = 0;
  need(run_awaitable(session.store().change_mailbox(address.key, std::move(change))),
       fmt::format("mailbox {} was not changed", address.key));
  session.report()(true, "set", "mailbox", address.key, fmt::format("mailbox {}: no limits", address.key));
}

struct RemoveArguments {
  std::string address;
  bool purge = false;
  bool if_exists = false;
};

void remove(Session& session, const RemoveArguments& given) {
  const auto address = parse_given_address(given.address);
  std::uint64_t messages = 0;
  bool present = false;
  {
    const auto view = session.directory();
    const auto mailbox = need(view->mailbox(address.key), fmt::format("mailbox {} could not be read", address.key));
    present = mailbox.has_value();
    if (mailbox)
      messages =
          need(view->totals(mailbox->number), fmt::format("the totals of {} could not be read", address.key)).messages;
    // Purging reaches a mailbox that was removed before and is out of sight; the store knows.
    if (!present && !given.if_exists && !given.purge) need_mailbox(*view, address);
  }
  auto removed = present || given.purge ? run_awaitable(session.store().remove_mailbox(address.key, given.purge))
                                        : mailstore::fail(mailstore::Errc::not_found, {});
  if (!removed && removed.error().code == mailstore::Errc::not_found) {
    if (!given.if_exists) need_mailbox(*session.directory(), address);
    session.report()(false, "removed", "mailbox", address.key, fmt::format("mailbox {} is not here", address.key));
    return;
  }
  if (!removed && removed.error().code == mailstore::Errc::in_use) {
    fail(
        fmt::format("mailbox {} is removed, but somebody is reading it, so its mail is still there; run this again "
                    "when the session has "
                    "ended",
                    address.key));
  }
  need(std::move(removed), fmt::format("mailbox {} was not removed", address.key));
  session.report()(
      true, "removed", "mailbox", address.key,
      given.purge ? fmt::format("mailbox {} removed for ever{}", address.key,
                                messages == 0 ? "" : fmt::format(", {} with it", counted(messages, "message")))
                  : fmt::format("mailbox {} removed; its mail ({}) stays until 'pennypost mailbox remove --purge {}'",
                                address.key, counted(messages, "message"), address.key));
}

/// A list of one domain's mailboxes says so when there is no such domain, rather than nothing.
std::string domain_to_list(Session& session, const std::string& text) {
  if (text.empty()) return {};
  const auto name = parse_given_domain(text);
  need_local_domain(*session.directory(), name);
  return name;
}

void list(Session& session, const std::string& text) {
  const auto domain = domain_to_list(session, text);
  List out(session.format(),
           {{"address", "MAILBOX"}, {"locked", "LOCKED"}, {"password", "PASSWORD"}, {"created", "CREATED"}},
           "no mailboxes yet; add one with 'pennypost mailbox add name@example.org'");
  each_mailbox(session.store(), domain, [&](const mailstore::Mailbox& mailbox, const mailstore::Totals&) {
    out.row({mailbox.address, mailbox.locked, has_password(mailbox), Time{mailbox.created}});
  });
  out.end();
}

void stat(Session& session, const std::string& text) {
  const auto domain = domain_to_list(session, text);
  List out(session.format(),
           {{"address", "MAILBOX"}, {"messages", "MESSAGES"}, {"octets", "SIZE"}, {"arrivals", "EVER ARRIVED"}},
           "no mailboxes yet; add one with 'pennypost mailbox add name@example.org'");
  each_mailbox(session.store(), domain, [&](const mailstore::Mailbox& mailbox, const mailstore::Totals& totals) {
    out.row({mailbox.address, totals.messages, Octets{totals.octets}, totals.arrivals});
  });
  out.end();
}

void show(Session& session, const std::string& text) {
  const auto address = parse_given_address(text);
  const auto view = session.directory();
  const auto mailbox = need_mailbox(*view, address);
  const auto totals =
      need(view->totals(mailbox.number), fmt::format("the totals of {} could not be read", address.key));
  const auto& credential = mailbox.credential;
  Record out(session.format());
  out.field("address", "Mailbox", mailbox.address);
  out.field("display", mailbox.display == mailbox.address ? "" : "Written as", mailbox.display);
  out.field("locked", "Locked", mailbox.locked);
  out.field("password", "", has_password(mailbox));
  out.field("password_scheme", "Password", has_password(mailbox) ? Cell{scheme_of(credential.password_hash)} : Cell{});
  out.field("scram_sha256", "SCRAM-SHA-256", !credential.scram_sha256.empty());
  out.field("messages", "Messages", totals.messages);
  out.field("octets", "Size", Octets{totals.octets});
  out.field("arrivals", "Ever arrived", totals.arrivals);
  out.field("quota", "", mailbox.quota_octets);
  out.field("max_messages", "", mailbox.quota_messages);
  out.field("created", "Created", Time{mailbox.created});
  out.print();
}

void passwd(Session& session, const std::string& text, bool from_stdin) {
  const auto address = parse_given_address(text);
  need_mailbox(*session.directory(), address);
  mailstore::MailboxChange change;
  change.credential = make_credential(read_new_password(address.key, from_stdin));
  need(run_awaitable(session.store().change_mailbox(address.key, std::move(change))),
       fmt::format("the password of {} was not changed", address.key));
  session.report()(true, "password_set", "mailbox", address.key,
                   fmt::format("mailbox {}: new password set", address.key));
}

void set_lock(Session& session, const std::string& text, bool locked) {
  const auto address = parse_given_address(text);
  const std::string_view word = locked ? "locked" : "unlocked";
  if (need_mailbox(*session.directory(), address).locked == locked) {
    session.report()(false, word, "mailbox", address.key, fmt::format("mailbox {} is already {}", address.key, word));
    return;
  }
  mailstore::MailboxChange change;
  change.locked = locked;
  need(run_awaitable(session.store().change_mailbox(address.key, std::move(change))),
       fmt::format("mailbox {} was not {}", address.key, word));
  session.report()(
      true, word, "mailbox", address.key,
      fmt::format("mailbox {} {}{}", address.key, word, locked ? ": mail still arrives, nobody logs in" : ""));
}

void add_changes(CLI::App& group, Program& program) {
  auto& session = program.session;
  {
    auto given = std::make_shared<AddArguments>();
    auto limits = std::make_shared<Limits>();
    auto* command = add_command(group, "add", "Adds a mailbox; asks for its password unless told otherwise", program,
                                [&session, given, limits] {
                                  check_limits(*limits);
                                  add(session, *given);
                                });
    add_argument(command, "ADDRESS", given->address, "The mailbox, as name@example.org")->required();
    auto* from_stdin = command->add_flag("--password-stdin", given->password_stdin,
                                         "The password is the first line of standard input");
    auto* none =
        command->add_flag("--no-password", given->no_password, "Nobody can log in to it until a password is set")
            ->excludes(from_stdin);
    command->add_option("--hash", given->hash, "The password's crypt(3) or Argon2id hash, taken as it is")
        ->type_name("CRYPT")
        ->excludes(from_stdin)
        ->excludes(none)
        ->each([given](const std::string&) { given->hash_given = true; });
    add_limit_options(command, limits);
    command->add_flag("--if-not-exists", given->if_not_exists, "Fine, and nothing changes, if it is there");
  }
  {
    auto address = std::make_shared<std::string>();
    auto limits = std::make_shared<Limits>();
    auto* command = add_command(group, "set", "Changes a mailbox's limits", program, {});
    command->callback([&program, &session, address, limits, command] {
      const bool given = command->count("--quota") + command->count("--max-messages") > 0;
      program.run = [&session, address, limits, given] { set(session, *address, *limits, given); };
    });
    add_argument(command, "ADDRESS", *address, "The mailbox")->required();
    add_limit_options(command, limits);
  }
  {
    auto given = std::make_shared<RemoveArguments>();
    auto* command =
        add_command(group, "remove", "Removes a mailbox", program, [&session, given] { remove(session, *given); });
    add_argument(command, "ADDRESS", given->address, "The mailbox")->required();
    command->add_flag("--purge", given->purge, "Its mail with it, for ever");
    command->add_flag("--if-exists", given->if_exists, "Fine if it is not there");
  }
}

}  // namespace

void add_mailbox_commands(CLI::App& root, Program& program) {
  auto* group = add_group(root, "mailbox", "The people of our domains");
  auto& session = program.session;
  add_changes(*group, program);
  const auto listing = [&](const char* name, const char* description, void (*act)(Session&, const std::string&)) {
    auto given = std::make_shared<std::string>();
    auto* command = add_command(*group, name, description, program, [&session, given, act] { act(session, *given); });
    add_argument(command, "DOMAIN", *given, "Of this domain alone");
  };
  const auto named = [&](const char* name, const char* description, void (*act)(Session&, const std::string&)) {
    auto given = std::make_shared<std::string>();
    auto* command = add_command(*group, name, description, program, [&session, given, act] { act(session, *given); });
    add_argument(command, "ADDRESS", *given, "The mailbox")->required();
  };
  listing("list", "Lists mailboxes", list);
  listing("stat", "Lists mailboxes with what they hold", stat);
  named("show", "Shows one mailbox", show);
  {
    auto address = std::make_shared<std::string>();
    auto from_stdin = std::make_shared<bool>(false);
    auto* command = add_command(*group, "passwd", "Sets a mailbox's password; asks for it on the terminal", program,
                                [&session, address, from_stdin] { passwd(session, *address, *from_stdin); });
    add_argument(command, "ADDRESS", *address, "The mailbox")->required();
    command->add_flag("--password-stdin", *from_stdin, "The password is the first line of standard input");
  }
  named("lock", "Locks a mailbox: mail still arrives, nobody logs in",
        [](Session& s, const std::string& address) { set_lock(s, address, true); });
  named("unlock", "Unlocks a mailbox", [](Session& s, const std::string& address) { set_lock(s, address, false); });
}

}  // namespace tools
