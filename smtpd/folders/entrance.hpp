#pragma once

#include <asio/awaitable.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "common/dns/resolver.hpp"
#include "common/net/worker.hpp"

#include "mailstore/store.hpp"

#include "smtpd/folders/opened_file.hpp"
#include "smtpd/folders/taker.hpp"

namespace smtpd::folders {

/// Has a message that was read from a file accepted as a session would: filters, circles, copies, reports of success
/// and automatic replies are those of mail by SMTP (Acceptance), and filters are told of a program at the local socket.
class Entrance {
 public:
  /// What a session would answer 5xx, and what a filter discards: nobody is there to hear it.
  enum class Refused : std::uint8_t {
    file,     ///< is no message
    message,  ///< goes back to its sender; a discarded one is badmail
  };
  struct Means {
    mailstore::Store& store;
    common::net::Worker& worker;  ///< of the thread that takes the files
    common::dns::Resolver& resolver;
  };
  /// `door`: its name in the log.
  Entrance(Means means, std::string door, Refused refused) : means_(means), door_(std::move(door)), refused_(refused) {}

  /// Once for `origin`. nullopt: the file is taken.
  asio::awaitable<std::optional<Unread>> accept(const OpenedFile& file, Message message, std::string origin);

 private:
  Means means_;
  std::string door_;
  Refused refused_;
};

}  // namespace smtpd::folders
