#pragma once

#include <asio/awaitable.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "common/clock.hpp"

#include "mailstore/store.hpp"

#include "smtpd/folders/file_pieces.hpp"
#include "smtpd/folders/opened_file.hpp"
#include "smtpd/folders/pickup_head.hpp"
#include "smtpd/folders/taker.hpp"
#include "smtpd/session/virtual_server.hpp"

namespace smtpd::folders {

/// Reads what people and programs put into a pickup folder: who may put files there may send as anybody to anybody.
class PickupReader {
 public:
  using Server = std::shared_ptr<const VirtualServer>;
  /// `server`: as it is in force.
  PickupReader(mailstore::Store& store, const common::Clock& clock, std::function<Server()> server)
      : store_(store), clock_(clock), server_(std::move(server)) {}

  /// A recipient of ours that nobody is goes into the queue, whose scheduler finds the same and reports it to the
  /// sender. One that somebody still writes waits.
  asio::awaitable<Reading> read(const OpenedFile& file);

 private:
  std::optional<Unread> find_people(const PickupHead& head, const VirtualServer& server, Transaction& transaction);
  asio::awaitable<Reading> read_message(const OpenedFile& file, FilePieces& source, Server server,
                                        Transaction transaction, std::string head, DotStuffed dots);

  mailstore::Store& store_;
  const common::Clock& clock_;
  std::function<Server()> server_;
};

}  // namespace smtpd::folders
