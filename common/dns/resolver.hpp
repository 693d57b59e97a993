#pragma once

#include <asio/awaitable.hpp>
#include <asio/ip/address.hpp>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <string>

#include "common/dns/record.hpp"
#include "common/dns/settings.hpp"

/// The DNS: lookups that a coroutine awaits.
namespace common::dns {

struct Question;

enum class Family : std::uint8_t { v4, v6 };

/// One for each process; any thread. CNAMEs are followed, answers are cached, validated where there are trust anchors,
/// and end within [dns] timeout; a coroutine that is cancelled ends its wait (Errc::cancelled). Callers resume on their
/// own executors. Names are taken without regard to case; what is no host name has no records.
class Resolver {
 public:
  /// Lookups that are on their way to name servers; beyond it the answer is Errc::temporary at once.
  static constexpr std::size_t most_asking = 500;

  Resolver();
  /// Lookups under way end as `cancelled`. The executors of all callers must still exist.
  ~Resolver();
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  /// Before it there are no answers (Errc::temporary); it starts the threads. Called again, lookups from now on go by
  /// the new settings, with an empty cache. From one thread at a time. Error: a sentence; nothing has changed.
  std::expected<void, std::string> configure(Settings settings);

  /// A or AAAA.
  asio::awaitable<Result<asio::ip::address>> addresses(std::string name, Family family);
  /// MX, in the order of the answer (RFC 5321 5.1 wants them sorted, and shuffled within a preference).
  asio::awaitable<Result<MailExchanger>> exchangers(std::string domain);
  /// PTR.
  asio::awaitable<Result<std::string>> names(asio::ip::address address);

 private:
  class Core;
  asio::awaitable<Result<std::string>> ask(Question question);
  std::shared_ptr<Core> core_;
};

}  // namespace common::dns
