#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "mailstore/directory.hpp"
#include "mailstore/types.hpp"

#include "smtpd/routing/resolver.hpp"

/// Mail that goes on from here: who it seems to come from, where it has been, who gets copies. No I/O but for looks
/// into the directory.
namespace smtpd::routing {

/// What a sender asks of one recipient (RFC 3461).
struct Wishes {
  std::uint8_t notify = 0;
  std::string original_recipient{};
};
/// The recipient as the envelope of a message with `reverse_path` has it. Mail to a group with an owner is the group's
/// from here on: its reports are the owner's, so what the sender asked for does not go along (RFC 3461 5.2.7.3). The
/// null reverse-path stays: nobody is to be told.
mailstore::Remote make_remote(Onward onward, std::string_view reverse_path, Wishes wishes);

/// The reverse-path with which `remote` of a message with `reverse_path` leaves: the group's owner's; of a stranger's
/// mail that we send on, an SRS one.
mailstore::Result<std::string> find_return_path(mailstore::DirectoryView& directory, std::string_view reverse_path,
                                                const mailstore::Remote& remote, const Returns& returns);

/// The Delivered-To line in front of what leaves for `remote`; empty: we do not send it on for anybody.
std::string format_delivered_to(const mailstore::Remote& remote);

/// Where a message has been: the canonical addresses of its Delivered-To fields. `header`: the header section, or its
/// beginning.
std::vector<std::string> find_delivered_to(std::string_view header);

enum class Circle : std::uint8_t {
  none,
  some,   ///< those are marked, the others are served
  whole,  ///< the message has been wherever it would go on from, and is for nobody else
};
/// Marks the remotes that a message would be sent on to from an address where it has been (`been`) before, and takes
/// out the mailboxes of those addresses: what they keep they have.
Circle mark_circles(mailstore::Envelope& envelope, const std::vector<std::string>& been);

/// Adds those who get a copy of all mail of a domain, each once and unless they have one already: a copy that comes
/// back (`been`) is not copied again. Nobody is told of what becomes of a copy. Those that leave are marked in
/// Delivered-To with an address that nobody has, in `default_domain`.
mailstore::Result<void> add_journals(mailstore::DirectoryView& directory, mailstore::Envelope& envelope,
                                     const std::vector<std::string>& journals, const std::vector<std::string>& been,
                                     std::string_view default_domain);

/// The same for a message that is held back: its copies are held with it, for the addresses as they are.
mailstore::Result<void> hold_journals(mailstore::DirectoryView& directory, mailstore::Envelope& envelope,
                                      const std::vector<std::string>& journals, const std::vector<std::string>& been,
                                      std::string_view default_domain);

}  // namespace smtpd::routing
