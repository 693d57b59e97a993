#pragma once

#include <expected>

#include "common/clock.hpp"

#include "mailstore/directory.hpp"

#include "smtpd/protocol/reply.hpp"
#include "smtpd/session/conversation.hpp"
#include "smtpd/session/virtual_server.hpp"

/// What is asked of the directory while an envelope is said: microseconds, on the asker's thread. What fails stands in
/// the log.
namespace smtpd {

/// Whether the sender may be used. What goes out is mail of the sender's domain, too: who gets copies of that is
/// noted.
std::expected<bool, Cause> find_sender(mailstore::DirectoryView& directory, const VirtualServer& server,
                                       const CheckSender& question, Transaction& transaction);
/// Where the recipient leads, and whether there is room.
std::expected<routing::Resolution, Cause> find_recipient(mailstore::DirectoryView& directory,
                                                         const common::Clock& clock, const VirtualServer& server,
                                                         const CheckRecipient& question);

}  // namespace smtpd
