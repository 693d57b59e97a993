#pragma once

#include <functional>
#include <string>

#include "mailstore/store.hpp"

/// The directory's lists, read in pages: a look at the directory pins what it sees, so none is open while something is
/// printed (whoever reads our output may be slow), and no list is ever held whole. A list of something that changes
/// meanwhile shows each name as it was when its page was read.
namespace tools {

void each_domain(mailstore::Store& store, const std::function<void(const mailstore::Domain&)>& show);
/// A mailbox with what it holds and may hold.
struct MailboxUse {
  mailstore::Mailbox mailbox;
  mailstore::Totals totals;
  mailstore::Limits limits;
};
/// `domain` empty: all.
void each_mailbox(mailstore::Store& store, const std::string& domain, mailstore::Which which,
                  const std::function<void(const MailboxUse&)>& show);
/// Fills in what stands beside a mailbox.
void look_up_use(mailstore::DirectoryView& view, MailboxUse& use);
void each_alias(mailstore::Store& store, const std::string& domain,
                const std::function<void(const mailstore::Alias&)>& show);

}  // namespace tools
