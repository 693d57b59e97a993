#pragma once

#include <asio/awaitable.hpp>
#include <functional>
#include <memory>

#include "common/clock.hpp"

#include "mailstore/store.hpp"

#include "smtpd/folders/taker.hpp"
#include "smtpd/session/terms.hpp"

namespace smtpd::folders {

/// Reads what pennypost-sendmail left in the spool: MAIL, RCPT and DATA as they would be said, then the octets of the
/// message to the end of the file.
class SpoolReader {
 public:
  /// `terms`: those in force for programs of this machine; null: there is no server for them.
  SpoolReader(mailstore::Store& store, const common::Clock& clock, std::function<std::shared_ptr<const Terms>()> terms);

  /// Its program was told that the message is taken. So a recipient that would be refused at the socket goes into the
  /// queue, whose scheduler finds the same and reports it to the sender.
  asio::awaitable<Reading> read(const OpenedFile& file);

 private:
  struct Envelope;
  asio::awaitable<Reading> read_body(const OpenedFile& file, Envelope envelope, const Terms& terms);

  mailstore::Store& store_;
  const common::Clock& clock_;
  std::function<std::shared_ptr<const Terms>()> terms_;
};

}  // namespace smtpd::folders
