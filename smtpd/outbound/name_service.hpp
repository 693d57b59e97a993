#pragma once

#include <asio/awaitable.hpp>
#include <string>

#include "smtpd/outbound/exchangers.hpp"

namespace smtpd::outbound {

/// What delivery asks of DNS. CNAMEs are followed by whoever answers (RFC 5321 5.1: the name at their end counts).
/// Called and resumed on one worker's thread.
class NameService {
 public:
  virtual ~NameService() = default;
  virtual asio::awaitable<MxAnswer> exchangers(std::string domain) = 0;
  virtual asio::awaitable<AddressAnswer> addresses(std::string host) = 0;
};

}  // namespace smtpd::outbound
