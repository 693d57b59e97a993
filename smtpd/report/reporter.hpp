#pragma once

#include <asio/awaitable.hpp>
#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <vector>

#include "common/clock.hpp"
#include "common/config/config.hpp"

#include "mailstore/queue.hpp"
#include "mailstore/store.hpp"

#include "smtpd/report/report.hpp"
#include "smtpd/routing/srs.hpp"

namespace smtpd::report {

/// How a virtual server signs its reports.
struct Reporting {
  std::string server;  ///< its id
  std::string hostname;
  std::string default_domain;
  std::string ndr_copy;    ///< gets a copy of each report of failure (S47); empty: nobody
  std::string masquerade;  ///< the domain of its From field where it leaves the house (S65); empty: as inside
  std::shared_ptr<const routing::Srs> srs;
};

Reporting make_reporting(const common::config::Server& server, std::shared_ptr<const routing::Srs> srs);

/// Makes the message that reports on another one, ready to be accepted together with what it speaks of.
class Reporter {
 public:
  Reporter(mailstore::Store& store, const common::Clock& clock) : store_(store), clock_(clock) {}

  enum class Refusal : std::uint8_t {
    no_reverse_path,  ///< RFC 5321 4.5.5: nobody is to be told
    nobody_there,     ///< the reverse-path is an address of ours that nobody has
    trouble,          ///< the store could not; later
  };
  /// On `recipients` of the message `id`, whose octets `original` gives. The report goes to the reverse-path as any
  /// mail would.
  asio::awaitable<std::expected<mailstore::Successor, Refusal>> make(const Reporting& reporting,
                                                                     mailstore::MessageId id,
                                                                     const mailstore::Envelope& envelope,
                                                                     const mailstore::OpenMessage& original,
                                                                     std::vector<Recipient> recipients);
  /// The same, accepted as a message of its own: of a success, behind the commit that it speaks of (RFC 3461 5.2.2,
  /// 5.2.7.3: "delivered", "expanded"). What cannot be told is in the log, the message itself being where it should.
  asio::awaitable<void> send(const Reporting& reporting, mailstore::MessageId id, const mailstore::Envelope& envelope,
                             const mailstore::OpenMessage& original, std::vector<Recipient> recipients);

 private:
  mailstore::Store& store_;
  const common::Clock& clock_;
};

}  // namespace smtpd::report
