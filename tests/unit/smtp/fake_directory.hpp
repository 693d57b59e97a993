#pragma once

#include <map>
#include <string>

#include "mailstore/directory.hpp"

/// A directory in memory, for tests and fuzz targets.
class FakeDirectory final : public mailstore::DirectoryView {
 public:
  template <class T>
  using Result = mailstore::Result<T>;

  std::map<std::string, mailstore::Domain, std::less<>> domains;
  std::map<std::string, mailstore::Mailbox, std::less<>> mailboxes;
  std::map<std::string, mailstore::Alias, std::less<>> aliases;
  std::map<mailstore::MailboxNumber, mailstore::Totals> held;
  std::map<mailstore::MailboxNumber, mailstore::AutoReply> replies;
  bool broken = false;

  void add_domain(const std::string& name, const std::string& alias_of = {}) {
    mailstore::Domain domain;
    domain.name = name;
    domain.kind = alias_of.empty() ? mailstore::DomainKind::local : mailstore::DomainKind::alias;
    domain.alias_of = alias_of;
    domains[name] = domain;
  }
  void add_remote_domain(const std::string& name, mailstore::RemoteSettings settings) {
    mailstore::Domain domain;
    domain.name = name;
    domain.kind = mailstore::DomainKind::remote;
    domain.remote = std::move(settings);
    domains[name] = domain;
  }
  mailstore::Mailbox& add_mailbox(const std::string& address, const std::string& password = {}) {
    mailstore::Mailbox mailbox;
    mailbox.number = mailstore::MailboxNumber{static_cast<std::uint32_t>(mailboxes.size() + 1)};
    mailbox.address = mailbox.display = address;
    mailbox.credential.version = password.empty() ? 0 : 1;
    mailbox.credential.password_hash = password;
    return mailboxes[address] = mailbox;
  }
  void add_alias(const std::string& address, std::vector<std::string> targets) {
    aliases[address] = {address, std::move(targets), {}};
  }

  Result<std::optional<mailstore::Domain>> domain(std::string_view name) override { return look(domains, name); }
  Result<std::optional<mailstore::Mailbox>> mailbox(std::string_view address) override {
    return look(mailboxes, address);
  }
  Result<std::optional<mailstore::Mailbox>> mailbox(mailstore::MailboxNumber number) override {
    for (const auto& [address, mailbox] : mailboxes) {
      if (mailbox.number == number) return mailbox;
    }
    return std::nullopt;
  }
  Result<std::optional<mailstore::Mailbox>> removed_mailbox(std::string_view) override { return std::nullopt; }
  Result<std::optional<mailstore::Alias>> alias(std::string_view address) override { return look(aliases, address); }
  Result<mailstore::Totals> totals(mailstore::MailboxNumber number) override {
    const auto found = held.find(number);
    return found == held.end() ? mailstore::Totals{} : found->second;
  }
  Result<std::optional<mailstore::AutoReply>> auto_reply(mailstore::MailboxNumber number) override {
    const auto found = replies.find(number);
    return found == replies.end() ? std::nullopt : std::optional{found->second};
  }
  Result<void> each_domain(const std::function<bool(const mailstore::Domain&)>&, std::string_view) override {
    return {};
  }
  Result<std::vector<mailstore::Domain>> fetching_domains() override { return std::vector<mailstore::Domain>{}; }
  Result<std::vector<mailstore::Domain>> domains_dequeued_by(std::string_view) override {
    return std::vector<mailstore::Domain>{};
  }
  Result<void> each_mailbox(std::string_view, const std::function<bool(const mailstore::Mailbox&)>&, std::string_view,
                            mailstore::Which) override {
    return {};
  }
  Result<void> each_alias(std::string_view, const std::function<bool(const mailstore::Alias&)>&,
                          std::string_view) override {
    return {};
  }

 private:
  template <class T>
  Result<std::optional<T>> look(const std::map<std::string, T, std::less<>>& map, std::string_view key) const {
    if (broken) return mailstore::fail(mailstore::Errc::unavailable, "as the test wants it");
    const auto found = map.find(key);
    return found == map.end() ? std::nullopt : std::optional<T>{found->second};
  }
};
