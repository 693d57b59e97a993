// pennypost mailbox: the people of our domains.

#include <algorithm>
#include <memory>
#include <optional>

#include <fmt/format.h>

#include "common/auth/password.hpp"
#include "tools/pennypost/await.hpp"
#include "tools/pennypost/forwarding.hpp"
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

struct LimitOptions {
  std::string quota;  ///< empty: not given
  std::string max_messages;
};

void add_limit_options(CLI::App* command, const std::shared_ptr<LimitOptions>& limits) {
  command->add_option("--quota", limits->quota, "Most octets it holds; 0: no limit; default: what its domain says")
      ->type_name("SIZE");
  command->add_option("--max-messages", limits->max_messages, "Most messages it holds; 0: no limit")->type_name("N");
}

/// The limits that the options name; what is not given stays out.
mailstore::MailboxChange parse_limits(const LimitOptions& given) {
  mailstore::MailboxChange change;
  if (given.quota == "default") {
    change.quota_octets.emplace(std::nullopt);
  } else if (!given.quota.empty()) {
    change.quota_octets.emplace(need_size("--quota", given.quota));
  }
  if (!given.max_messages.empty()) {
    change.quota_messages = parse_count(given.max_messages);
    if (!change.quota_messages)
      refuse(fmt::format("--max-messages {}: not a number; write digits; 0: no limit", given.max_messages));
  }
  return change;
}

std::string describe(const mailstore::Mailbox& mailbox) {
  std::string text = "quota of its domain";
  if (mailbox.quota_octets) {
    text = *mailbox.quota_octets == 0 ? "no quota" : fmt::format("quota {}", format_octets(*mailbox.quota_octets));
  }
  return text +
         (mailbox.quota_messages == 0 ? std::string(", any number of messages")
                                      : fmt::format(", {} at most", counted(mailbox.quota_messages, "message"))) +
         (mailbox.apop_secret.empty() ? "" : ", a secret for APOP") +
         (mailbox.send_as.empty() ? "" : fmt::format(", sends as {}", fmt::join(mailbox.send_as, ", "))) +
         (mailbox.forward.empty() ? "" : ", " + describe_forward(mailbox)) +
         (mailbox.auto_reply ? ", answers by itself" : "");
}

/// How much of what a mailbox may hold is used up; nothing where it may hold anything.
Cell used(const MailboxUse& use) {
  if (use.limits.octets == 0 && use.limits.messages == 0) return {};
  const auto share = [](std::uint64_t part, std::uint64_t whole) {
    return whole == 0
               ? 0
               : static_cast<std::uint64_t>(100.0L * static_cast<long double>(part) / static_cast<long double>(whole));
  };
  return Percent{
      std::max(share(use.totals.octets, use.limits.octets), share(use.totals.messages, use.limits.messages))};
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

void add(Session& session, const AddArguments& given, const LimitOptions& limit_options) {
  const auto address = parse_given_address(given.address);
  const auto limits = parse_limits(limit_options);
  if (check_free(*session.directory(), address, given.if_not_exists)) {
    session.report()(false, "added", "mailbox", address.key, fmt::format("mailbox {} is already here", address.key));
    return;
  }
  mailstore::NewMailbox mailbox{.address = address.key,
                                .display = address.display,
                                .quota_octets = limits.quota_octets.value_or(std::nullopt),
                                .quota_messages = limits.quota_messages.value_or(0),
                                .credential = credential_for(given, address)};
  auto added = run_awaitable(session.store().add_mailbox(std::move(mailbox)));
  need(std::move(added), fmt::format("mailbox {} was not added", address.key));
  session.report()(true, "added", "mailbox", address.key,
                   fmt::format("mailbox {} added{}", address.key, given.no_password ? ", without a password" : ""));
}

struct ApopOptions {
  bool from_stdin = false;
  bool none = false;
};

struct SendAsOptions {
  std::vector<std::string> granted, taken;
  bool given() const { return !granted.empty() || !taken.empty(); }
};

/// An address, or "@" and a domain, in the form that the directory keeps.
std::string parse_grant(const std::string& text) {
  return text.starts_with('@') ? "@" + parse_given_domain(text.substr(1)) : parse_given_address(text).key;
}

std::vector<std::string> apply(const SendAsOptions& given, std::vector<std::string> send_as) {
  for (const auto& text : given.taken) {
    if (text == "all") {
      send_as.clear();
    } else {
      std::erase(send_as, parse_grant(text));
    }
  }
  for (const auto& text : given.granted) {
    auto grant = parse_grant(text);
    if (std::ranges::find(send_as, grant) == send_as.end()) send_as.push_back(std::move(grant));
  }
  return send_as;
}

/// All that `mailbox set` was given.
struct SetArguments {
  std::string address;
  LimitOptions limits;
  bool limits_given = false;
  ApopOptions secret;
  SendAsOptions senders;
  ForwardOptions forward;
  AutoReplyOptions auto_reply;
  bool given() const {
    return limits_given || secret.from_stdin || secret.none || senders.given() || forward.given() || auto_reply.given();
  }
};

void set(Session& session, const SetArguments& given) {
  const auto& secret = given.secret;
  const auto address = parse_given_address(given.address);
  if (!given.given()) {
    refuse(
        "nothing to set; give --quota, --max-messages, --send-as, --no-send-as, --forward, --keep-copy, --no-forward, "
        "--auto-reply-file, --auto-reply-subject, --no-auto-reply, --apop-secret-stdin or --no-apop-secret");
  }
  auto change = parse_limits(given.limits);
  mailstore::Mailbox mailbox;
  std::optional<mailstore::AutoReply> reply;
  {
    const auto view = session.directory();
    mailbox = need_mailbox(*view, address);
    reply = need(view->auto_reply(mailbox.number), fmt::format("the reply of {} could not be read", address.key));
  }
  if (secret.from_stdin) change.apop_secret.emplace(read_new_password(address.key, true).reveal());
  if (secret.none && !mailbox.apop_secret.empty()) change.apop_secret.emplace();
  const auto before = mailbox;
  mailbox.quota_octets = change.quota_octets.value_or(before.quota_octets);
  mailbox.quota_messages = change.quota_messages.value_or(before.quota_messages);
  mailbox.send_as = apply(given.senders, before.send_as);
  apply(given.forward, before, change);
  apply(given.auto_reply, reply, change);
  if (mailbox.send_as != before.send_as) change.send_as = mailbox.send_as;
  if (mailbox.quota_octets == before.quota_octets && mailbox.quota_messages == before.quota_messages &&
      !change.apop_secret && !change.send_as && !change.forward && !change.keep_copy && !change.auto_reply) {
    session.report()(false, "set", "mailbox", address.key,
                     fmt::format("mailbox {} has that already: {}", address.key, describe(mailbox)));
    return;
  }
  mailbox.apop_secret = change.apop_secret.value_or(before.apop_secret);
  mailbox.forward = change.forward.value_or(before.forward);
  mailbox.keep_copy = change.keep_copy.value_or(before.keep_copy);
  if (change.auto_reply) mailbox.auto_reply = change.auto_reply->has_value();
  need(run_awaitable(session.store().change_mailbox(address.key, std::move(change))),
       fmt::format("mailbox {} was not changed", address.key));
  session.report()(true, "set", "mailbox", address.key, fmt::format("mailbox {}: {}", address.key, describe(mailbox)));
}

void restore(Session& session, const std::string& text) {
  const auto address = parse_given_address(text);
  std::uint64_t messages = 0;
  {
    const auto view = session.directory();
    if (need(view->mailbox(address.key), fmt::format("mailbox {} could not be read", address.key))) {
      session.report()(false, "restored", "mailbox", address.key, fmt::format("mailbox {} is here", address.key));
      return;
    }
    const auto removed =
        need(view->removed_mailbox(address.key), fmt::format("mailbox {} could not be read", address.key));
    if (!removed) {
      fail(
          fmt::format("no removed mailbox {} here: it was never added, or is purged; see 'pennypost mailbox list "
                      "--removed'",
                      address.key));
    }
    messages =
        need(view->totals(removed->number), fmt::format("the totals of {} could not be read", address.key)).messages;
  }
  need(run_awaitable(session.store().restore_mailbox(address.key)),
       fmt::format("mailbox {} was not restored", address.key));
  session.report()(true, "restored", "mailbox", address.key,
                   fmt::format("mailbox {} restored with {}", address.key, counted(messages, "message")));
}

void rename(Session& session, const std::string& text, const std::string& new_text) {
  const auto address = parse_given_address(text);
  const auto to = parse_given_address(new_text);
  {
    const auto view = session.directory();
    const auto mailbox = need_mailbox(*view, address);
    need_local_domain(*view, to.domain);
    if (to.key == address.key && to.display == mailbox.display) {
      session.report()(false, "renamed", "mailbox", address.key, fmt::format("mailbox {} has that name", address.key));
      return;
    }
  }
  need(run_awaitable(session.store().rename_mailbox(address.key, to.key, to.display)),
       fmt::format("mailbox {} was not renamed", address.key));
  session.report()(true, "renamed", "mailbox", to.key,
                   fmt::format("mailbox {} is now {}, with its mail and its password", address.key, to.key));
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
                  : fmt::format("mailbox {} removed; its mail ({}) is kept as [store] keep_removed says: 'pennypost "
                                "mailbox restore {}' brings it back, 'pennypost mailbox remove --purge {}' ends it",
                                address.key, counted(messages, "message"), address.key, address.key));
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
           {{"address", "MAILBOX"},
            {"locked", "LOCKED"},
            {"password", "PASSWORD"},
            {"used_percent", "USED"},
            {"created", "CREATED"}},
           "no mailboxes yet; add one with 'pennypost mailbox add name@example.org'");
  each_mailbox(session.store(), domain, mailstore::Which::living, [&](const MailboxUse& use) {
    const auto& mailbox = use.mailbox;
    out.row({mailbox.address, mailbox.locked, has_password(mailbox), used(use), Time{mailbox.created}});
  });
  out.end();
}

void list_removed(Session& session, const std::string& text) {
  const auto domain = domain_to_list(session, text);
  List out(session.format(),
           {{"address", "MAILBOX"}, {"messages", "MESSAGES"}, {"octets", "SIZE"}, {"removed", "REMOVED"}},
           "no removed mailboxes");
  each_mailbox(session.store(), domain, mailstore::Which::all, [&](const MailboxUse& use) {
    const auto& mailbox = use.mailbox;
    if (mailbox.removed_at == 0) return;
    out.row({mailbox.address, use.totals.messages, Octets{use.totals.octets}, Time{mailbox.removed_at}});
  });
  out.end();
}

void stat(Session& session, const std::string& text) {
  const auto domain = domain_to_list(session, text);
  List out(session.format(),
           {{"address", "MAILBOX"},
            {"messages", "MESSAGES"},
            {"octets", "SIZE"},
            {"quota", ""},
            {"max_messages", ""},
            {"used_percent", "USED"},
            {"arrivals", "EVER ARRIVED"}},
           "no mailboxes yet; add one with 'pennypost mailbox add name@example.org'");
  each_mailbox(session.store(), domain, mailstore::Which::living, [&](const MailboxUse& use) {
    const auto& totals = use.totals;
    out.row({use.mailbox.address, totals.messages, Octets{totals.octets}, use.limits.octets, use.limits.messages,
             used(use), totals.arrivals});
  });
  out.end();
}

void show(Session& session, const std::string& text) {
  const auto address = parse_given_address(text);
  const auto view = session.directory();
  MailboxUse use{need_mailbox(*view, address), {}, {}};
  look_up_use(*view, use);
  const auto& [mailbox, totals, limits] = use;
  const auto& credential = mailbox.credential;
  const auto reply =
      need(view->auto_reply(mailbox.number), fmt::format("the reply of {} could not be read", address.key));
  Record out(session.format());
  out.field("address", "Mailbox", mailbox.address);
  out.field("display", mailbox.display == mailbox.address ? "" : "Written as", mailbox.display);
  out.field("locked", "Locked", mailbox.locked);
  out.field("password", "", has_password(mailbox));
  out.field("password_scheme", "Password", has_password(mailbox) ? Cell{scheme_of(credential.password_hash)} : Cell{});
  out.field("scram_sha256", "SCRAM-SHA-256", !credential.scram_sha256.empty());
  out.field("apop", mailbox.apop_secret.empty() ? "" : "APOP", !mailbox.apop_secret.empty());
  out.field("send_as", mailbox.send_as.empty() ? "" : "Sends as", mailbox.send_as);
  out.field("forward", mailbox.forward.empty() ? "" : "Forwards to", mailbox.forward);
  out.field("keep_copy", mailbox.forward.empty() ? "" : "Keeps a copy", mailbox.keep_copy);
  const auto answer = reply.value_or(mailstore::AutoReply{});
  const auto moment = [](std::uint64_t time) { return time == 0 ? Cell{} : Cell{Time{time}}; };
  const auto text_of = [](const std::string& value) { return value.empty() ? Cell{} : Cell{value}; };
  out.field("auto_reply", reply ? "Answers by itself" : "", reply.has_value());
  out.field("auto_reply_from", answer.from == 0 ? "" : "from", moment(answer.from));
  out.field("auto_reply_until", answer.until == 0 ? "" : "until", moment(answer.until));
  out.field("auto_reply_subject", answer.subject.empty() ? "" : "with the subject", text_of(answer.subject));
  out.field("auto_reply_text", answer.text.empty() ? "" : "and the text", text_of(answer.text));
  out.field("messages", "Messages", totals.messages);
  out.field("octets", "Size", Octets{totals.octets});
  out.field("arrivals", "Ever arrived", totals.arrivals);
  out.field("quota", limits.octets == 0 ? "" : "Quota", Octets{limits.octets});
  out.field("quota_of_domain", "", !mailbox.quota_octets.has_value());
  out.field("max_messages", limits.messages == 0 ? "" : "Most messages", limits.messages);
  out.field("used_percent", "Used", used(use));
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
    auto limits = std::make_shared<LimitOptions>();
    auto* command = add_command(group, "add", "Adds a mailbox; asks for its password unless told otherwise", program,
                                [&session, given, limits] { add(session, *given, *limits); });
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
    // Each set of options lives by itself, and all of them in the command.
    auto given = std::make_shared<SetArguments>();
    const auto limits = std::shared_ptr<LimitOptions>(given, &given->limits);
    auto* command =
        add_command(group, "set",
                    "Changes a mailbox's limits, whom it sends as, where its mail goes on to, what it answers "
                    "by itself, its secret for APOP and CRAM-MD5",
                    program, {});
    command->callback([&program, &session, given, command] {
      given->limits_given = command->count("--quota") + command->count("--max-messages") > 0;
      program.run = [&session, given] { set(session, *given); };
    });
    add_argument(command, "ADDRESS", given->address, "The mailbox")->required();
    add_limit_options(command, limits);
    add_forward_options(command, {given, &given->forward});
    add_auto_reply_options(command, {given, &given->auto_reply});
    command
        ->add_option("--send-as", given->senders.granted,
                     "It may send mail of this address, or of a whole domain; may be given several times")
        ->type_name("ADDRESS|@DOMAIN")
        ->allow_extra_args(false);
    command->add_option("--no-send-as", given->senders.taken, "It may not any more; all: none of them")
        ->type_name("ADDRESS|@DOMAIN|all")
        ->allow_extra_args(false);
    auto* read =
        command->add_flag("--apop-secret-stdin", given->secret.from_stdin,
                          "Its secret for APOP and CRAM-MD5 is the first line of standard input; kept in the clear");
    command->add_flag("--no-apop-secret", given->secret.none, "It has none any more")->excludes(read);
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
  {
    auto given = std::make_shared<std::string>();
    auto removed = std::make_shared<bool>(false);
    auto* command = add_command(*group, "list", "Lists mailboxes", program,
                                [&session, given, removed] { (*removed ? list_removed : list)(session, *given); });
    add_argument(command, "DOMAIN", *given, "Of this domain alone");
    command->add_flag("--removed", *removed, "Those that were removed and can be restored");
  }
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
  named("restore", "Brings a removed mailbox back, with its mail", restore);
  {
    auto address = std::make_shared<std::string>();
    auto to = std::make_shared<std::string>();
    auto* command = add_command(*group, "rename", "Gives a mailbox another address; mail, password and aliases stay",
                                program, [&session, address, to] { rename(session, *address, *to); });
    add_argument(command, "ADDRESS", *address, "The mailbox")->required();
    add_argument(command, "NEW", *to, "Its new address")->required();
  }
  named("lock", "Locks a mailbox: mail still arrives, nobody logs in",
        [](Session& s, const std::string& address) { set_lock(s, address, true); });
  named("unlock", "Unlocks a mailbox", [](Session& s, const std::string& address) { set_lock(s, address, false); });
}

}  // namespace tools
