#include "tools/pennypost/pages.hpp"

#include <vector>

#include "tools/pennypost/session.hpp"

namespace tools {
namespace {

constexpr std::size_t page_rows = 1000;

/// `read` fills a page with what follows `after`; `name_of` tells where the next one begins.
template <class Row, class Read, class NameOf, class Show>
void in_pages(mailstore::Store& store, const Read& read, const NameOf& name_of, const Show& show) {
  std::string after;
  std::vector<Row> page;
  do {
    page.clear();
    {
      const auto view = store.directory();
      read(*view, after, page);
    }
    for (const auto& row : page) show(row);
    if (!page.empty()) after = name_of(page.back());
  } while (page.size() == page_rows);
}

}  // namespace

void each_domain(mailstore::Store& store, const std::function<void(const mailstore::Domain&)>& show) {
  const auto read = [](mailstore::DirectoryView& view, const std::string& after, std::vector<mailstore::Domain>& page) {
    const auto keep = [&](const mailstore::Domain& domain) {
      page.push_back(domain);
      return page.size() < page_rows;
    };
    need(view.each_domain(keep, after), "the domains could not be read");
  };
  in_pages<mailstore::Domain>(store, read, [](const mailstore::Domain& domain) { return domain.name; }, show);
}

void look_up_use(mailstore::DirectoryView& view, MailboxUse& use) {
  const auto& address = use.mailbox.address;
  use.totals = need(view.totals(use.mailbox.number), "the totals of " + address + " could not be read");
  const auto name = address.substr(address.rfind('@') + 1);
  const auto domain = need(view.domain(name), "domain " + name + " could not be read");
  use.limits = mailstore::limits_of(use.mailbox, domain ? *domain : mailstore::Domain{});
}

void each_mailbox(mailstore::Store& store, const std::string& domain, mailstore::Which which,
                  const std::function<void(const MailboxUse&)>& show) {
  const auto read = [&](mailstore::DirectoryView& view, const std::string& after, std::vector<MailboxUse>& page) {
    const auto keep = [&](const mailstore::Mailbox& mailbox) {
      page.push_back({mailbox, {}, {}});
      return page.size() < page_rows;
    };
    need(view.each_mailbox(domain, keep, after, which), "the mailboxes could not be read");
    for (auto& use : page) look_up_use(view, use);
  };
  in_pages<MailboxUse>(store, read, [](const MailboxUse& use) { return use.mailbox.address; }, show);
}

void each_alias(mailstore::Store& store, const std::string& domain,
                const std::function<void(const mailstore::Alias&)>& show) {
  const auto read = [&](mailstore::DirectoryView& view, const std::string& after, std::vector<mailstore::Alias>& page) {
    const auto keep = [&](const mailstore::Alias& alias) {
      page.push_back(alias);
      return page.size() < page_rows;
    };
    need(view.each_alias(domain, keep, after), "the aliases could not be read");
  };
  in_pages<mailstore::Alias>(store, read, [](const mailstore::Alias& alias) { return alias.address; }, show);
}

}  // namespace tools
