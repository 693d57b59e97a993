#include "smtpd/report/recipient.hpp"

#include <algorithm>
#include <utility>

#include "common/address.hpp"

#include "smtpd/routing/forwarding.hpp"

namespace smtpd::report {

mailstore::Result<bool> add_recipient(mailstore::DirectoryView& directory, const std::string& text,
                                      std::string_view default_domain, const routing::Returns& returns,
                                      mailstore::Envelope& envelope) {
  auto address = common::parse_address(text);
  if (!address) return false;
  auto found = routing::resolve(directory, *address, default_domain, routing::Relay::allowed, nullptr, &returns);
  if (!found) return std::unexpected(std::move(found.error()));
  if (found->outcome != routing::Outcome::found) return false;
  for (auto& target : found->targets) {
    const bool there = std::ranges::any_of(
        envelope.owners, [&](const mailstore::Owner& owner) { return owner.mailbox == target.mailbox; });
    if (there) continue;
    mailstore::Owner owner;
    owner.mailbox = target.mailbox;
    owner.delivered_to = std::move(target.address);
    envelope.owners.push_back(std::move(owner));
  }
  for (auto& onward : found->remotes) {
    const bool there = std::ranges::any_of(
        envelope.remotes, [&](const mailstore::Remote& other) { return other.address == onward.address; });
    if (there) continue;
    // RFC 3461 6.1
    envelope.remotes.push_back(
        routing::make_remote(std::move(onward), envelope.reverse_path, {mailstore::notify_never, {}}));
  }
  return true;
}

}  // namespace smtpd::report
