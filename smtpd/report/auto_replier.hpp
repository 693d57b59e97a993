#pragma once

#include <asio/awaitable.hpp>
#include <string>
#include <vector>

#include "common/clock.hpp"

#include "mailstore/store.hpp"

#include "smtpd/report/auto_reply.hpp"
#include "smtpd/report/reporter.hpp"
#include "smtpd/routing/resolver.hpp"

namespace smtpd::report {

/// A message that was accepted, for mailboxes that may answer it by themselves.
struct Occasion {
  std::string id;
  std::string reverse_path;
  std::string header;  ///< its beginning, as it came
  std::vector<routing::Responder> responders;
};

/// Writes the automatic replies to a message and has them accepted as any mail. A reply that the machine cannot write
/// now is not written later.
class AutoReplier {
 public:
  AutoReplier(mailstore::Store& store, const common::Clock& clock, Reporting reporting)
      : store_(store), clock_(clock), reporting_(std::move(reporting)) {}

  asio::awaitable<void> answer(const Occasion& occasion);

 private:
  struct Plan;
  mailstore::Result<std::optional<Plan>> plan(const Occasion& occasion, const routing::Responder& responder,
                                              const Asking& asking);
  asio::awaitable<mailstore::Result<void>> send(const Occasion& occasion, const routing::Responder& responder,
                                                const Asking& asking);

  mailstore::Store& store_;
  const common::Clock& clock_;
  Reporting reporting_;
};

}  // namespace smtpd::report
