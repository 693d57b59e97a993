#pragma once

#include <asio/awaitable.hpp>
#include <cstdint>
#include <expected>
#include <string>
#include <vector>

#include "common/clock.hpp"

#include "mailstore/queue.hpp"
#include "mailstore/store.hpp"

#include "smtpd/report/report.hpp"

namespace smtpd::report {

/// ORCPT as it came, with the xtext undone (RFC 3461 6.3): what report::Recipient wants. Empty stays empty.
std::string readable_original(const std::string& original_recipient);

/// How a virtual server signs its reports.
struct Reporting {
  std::string server;  ///< its id
  std::string hostname;
  std::string default_domain;
  std::string ndr_copy;  ///< gets a copy of each report of failure (S47); empty: nobody
};

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

 private:
  mailstore::Store& store_;
  const common::Clock& clock_;
};

}  // namespace smtpd::report
