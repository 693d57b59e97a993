#pragma once

#include <asio/awaitable.hpp>
#include <functional>
#include <memory>
#include <string>

#include "common/clock.hpp"

#include "mailstore/store.hpp"

#include "smtpd/folders/drop_folder.hpp"
#include "smtpd/folders/opened_file.hpp"
#include "smtpd/folders/pickup_head.hpp"
#include "smtpd/folders/taker.hpp"
#include "smtpd/session/terms.hpp"

namespace smtpd::folders {

/// Reads what people and programs put into a pickup folder: who may put files there may send as anybody to anybody.
class PickupReader {
 public:
  /// `terms`: those in force. `drop`: of the same server.
  PickupReader(mailstore::Store& store, const common::Clock& clock, std::function<std::shared_ptr<const Terms>()> terms,
               std::shared_ptr<DropFolder> drop)
      : store_(store), clock_(clock), terms_(std::move(terms)), drop_(std::move(drop)) {}

  /// A recipient of ours that nobody is goes into the queue, whose scheduler finds the same and reports it to the
  /// sender. One that somebody still writes waits.
  asio::awaitable<Reading> read(const OpenedFile& file);

 private:
  class Source;
  asio::awaitable<Reading> read_message(const OpenedFile& file, Source& source, const Terms& terms,
                                        mailstore::Envelope envelope, std::string head, DotStuffed dots);

  mailstore::Store& store_;
  const common::Clock& clock_;
  std::function<std::shared_ptr<const Terms>()> terms_;
  std::shared_ptr<DropFolder> drop_;
};

}  // namespace smtpd::folders
