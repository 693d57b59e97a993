#include "smtpd/routing/forwarding.hpp"

#include <algorithm>
#include <utility>

#include "smtpd/protocol/header_fields.hpp"

namespace smtpd::routing {
namespace {

/// Of one message; behind them its hops say that it goes in circles.
constexpr std::size_t most_places = 200;

bool contains(const std::vector<std::string>& list, const std::string& address) {
  return std::ranges::find(list, address) != list.end();
}

/// What Delivered-To says of a copy for `journal`. Not the address that gets it: Postfix's local(8), and a mailbox of
/// ours that forwards, take that for a circle.
std::string mark_for(const std::string& journal, std::string_view default_domain) {
  std::string mark{mailstore::copies_local_part};
  mark += '@';
  mark += default_domain.empty() ? std::string_view{journal}.substr(journal.rfind('@') + 1) : default_domain;
  return mark;
}

/// Whether a message is such a copy: of this virtual server's, or of another one's here.
mailstore::Result<bool> was_copied(mailstore::DirectoryView& directory, const std::vector<std::string>& been,
                                   std::string_view default_domain) {
  for (const auto& address : been) {
    const auto at = address.rfind('@');
    if (std::string_view{address}.substr(0, at) != mailstore::copies_local_part) continue;
    const auto name = std::string_view{address}.substr(at + 1);
    if (name == default_domain) return true;
    const auto domain = directory.domain(name);
    if (!domain) return std::unexpected(domain.error());
    if (*domain && (*domain)->kind != mailstore::DomainKind::remote) return true;
  }
  return false;
}

void add_copy(mailstore::Envelope& envelope, std::string address, std::string mark) {
  const bool there =
      std::ranges::any_of(envelope.remotes, [&](const mailstore::Remote& remote) { return remote.address == address; });
  if (there) return;
  mailstore::Remote remote;
  remote.address = std::move(address);
  remote.sent_on_by = std::move(mark);
  remote.notify = mailstore::notify_never;
  envelope.remotes.push_back(std::move(remote));
}

}  // namespace

mailstore::Remote make_remote(Onward onward, std::string_view reverse_path, Wishes wishes) {
  mailstore::Remote remote;
  remote.address = std::move(onward.address);
  remote.sent_on_by = std::move(onward.by);
  if (!onward.returns_to.empty() && !reverse_path.empty()) {
    remote.returns_to = std::move(onward.returns_to);
    return remote;
  }
  remote.notify = wishes.notify;
  remote.original_recipient = std::move(wishes.original_recipient);
  return remote;
}

mailstore::Result<std::string> find_return_path(mailstore::DirectoryView& directory, std::string_view reverse_path,
                                                const mailstore::Remote& remote, const Returns& returns) {
  std::string path = remote.returns_to.empty() ? std::string{reverse_path} : remote.returns_to;
  if (path.empty() || remote.sent_on_by.empty()) return path;
  const auto sender = common::parse_address(path);
  if (!sender || sender->domain.empty() || sender->domain == returns.srs.domain()) return path;
  const auto domain = directory.domain(sender->domain);
  if (!domain) return std::unexpected(domain.error());
  if (*domain && (*domain)->kind != mailstore::DomainKind::remote) return path;
  std::string_view ours = std::string_view{remote.sent_on_by}.substr(remote.sent_on_by.rfind('@') + 1);
  // Without a default_domain copies name one that may be elsewhere.
  const auto home = directory.domain(ours);
  if (!home) return std::unexpected(home.error());
  if (!*home || (*home)->kind == mailstore::DomainKind::remote) ours = returns.home;
  if (ours.empty() && returns.srs.domain().empty()) return path;
  return common::format_address(returns.srs.forward(*sender, ours, returns.today));
}

std::string format_delivered_to(const mailstore::Remote& remote) {
  return remote.sent_on_by.empty() ? std::string{} : "Delivered-To: " + remote.sent_on_by + "\r\n";
}

std::vector<std::string> find_delivered_to(std::string_view header) {
  std::vector<std::string> been;
  for_each_field(header, [&](const HeaderField& field) {
    if (!is_named(field, "delivered-to") || been.size() >= most_places) return;
    const auto address = common::parse_address(unfolded(field.body));
    if (address && !address->domain.empty()) been.push_back(common::canonical_key(*address));
  });
  return been;
}

Circle mark_circles(mailstore::Envelope& envelope, const std::vector<std::string>& been) {
  std::vector<std::string> circling;
  bool others = false;
  for (auto& remote : envelope.remotes) {
    remote.looped = !remote.sent_on_by.empty() && contains(been, remote.sent_on_by);
    others = others || !remote.looped;
    if (remote.looped && !contains(circling, remote.sent_on_by)) circling.push_back(remote.sent_on_by);
  }
  if (circling.empty()) return Circle::none;
  // A copy that a forwarding mailbox keeps was kept when the message first came.
  std::erase_if(envelope.owners, [&](const mailstore::Owner& owner) { return contains(circling, owner.delivered_to); });
  return others || !envelope.owners.empty() ? Circle::some : Circle::whole;
}

mailstore::Result<void> add_journals(mailstore::DirectoryView& directory, mailstore::Envelope& envelope,
                                     const std::vector<std::string>& journals, const std::vector<std::string>& been,
                                     std::string_view default_domain) {
  const auto copied = was_copied(directory, been, default_domain);
  if (!copied) return std::unexpected(copied.error());
  for (const auto& journal : journals) {
    const auto mark = mark_for(journal, default_domain);
    if (*copied || contains(been, journal) || contains(been, mark)) continue;
    const auto address = common::parse_address(journal);
    if (!address) continue;
    auto found = resolve(directory, *address, default_domain, Relay::allowed);
    if (!found) return std::unexpected(std::move(found.error()));
    if (found->outcome != Outcome::found) continue;
    for (auto& target : found->targets) {
      const bool there = std::ranges::any_of(
          envelope.owners, [&](const mailstore::Owner& owner) { return owner.mailbox == target.mailbox; });
      if (there) continue;
      mailstore::Owner owner;
      owner.mailbox = target.mailbox;
      owner.delivered_to = std::move(target.address);
      owner.notify = mailstore::notify_never;
      envelope.owners.push_back(std::move(owner));
    }
    for (auto& onward : found->remotes) add_copy(envelope, std::move(onward.address), mark);
  }
  return {};
}

mailstore::Result<void> hold_journals(mailstore::DirectoryView& directory, mailstore::Envelope& envelope,
                                      const std::vector<std::string>& journals, const std::vector<std::string>& been,
                                      std::string_view default_domain) {
  const auto copied = was_copied(directory, been, default_domain);
  if (!copied) return std::unexpected(copied.error());
  for (const auto& journal : journals) {
    auto mark = mark_for(journal, default_domain);
    if (!*copied && !contains(been, journal) && !contains(been, mark)) add_copy(envelope, journal, std::move(mark));
  }
  return {};
}

}  // namespace smtpd::routing
