#pragma once

#include <asio/awaitable.hpp>
#include <functional>
#include <memory>

#include "common/clock.hpp"

#include "mailstore/store.hpp"

#include "smtpd/folders/taker.hpp"
#include "smtpd/session/virtual_server.hpp"

namespace smtpd::folders {

/// Reads what pennypost-sendmail left in the spool: MAIL, RCPT and DATA as they would be said, then the octets of the
/// message to the end of the file.
class SpoolReader {
 public:
  using Server = std::shared_ptr<const VirtualServer>;
  /// `server`: the one in force for programs of this machine; null: there is none.
  SpoolReader(mailstore::Store& store, const common::Clock& clock, std::function<Server()> server);

  /// Its program was told that the message is taken. So a recipient that would be refused at the socket goes into the
  /// queue, whose scheduler finds the same and reports it to the sender.
  asio::awaitable<Reading> read(const OpenedFile& file);

 private:
  struct Envelope;
  asio::awaitable<Reading> read_body(const OpenedFile& file, Envelope envelope, Server server);

  mailstore::Store& store_;
  const common::Clock& clock_;
  std::function<Server()> server_;
};

}  // namespace smtpd::folders
