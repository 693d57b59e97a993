#pragma once

#include <asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/dns/resolver.hpp"
#include "common/net/worker.hpp"

#include "mailstore/store.hpp"

#include "smtpd/milter/edits.hpp"
#include "smtpd/milter/facts.hpp"
#include "smtpd/milter/filter_session.hpp"
#include "smtpd/protocol/reply.hpp"

/// Milters (LEGACY S97): other people's filters that a session asks at each of its steps.
namespace smtpd::milter {

/// What all filters together make of a step.
struct Decision {
  enum class Kind : std::uint8_t { go_on, refuse, discard };
  Kind kind = Kind::go_on;
  Reply reply;                            ///< of `refuse`
  std::optional<mailstore::Error> store;  ///< of `refuse`: it was the store that failed, and `reply` is empty
};

/// The filters of one session, asked in their order; the first that refuses decides. A filter that is gone (does not
/// answer, breaks the protocol, hangs up) is answered for as [milters] when_gone says, and its connection closed; the
/// next message looks for it again. Of what it said of a message in between nothing counts. Belongs to the session's
/// thread.
class Filters {
 public:
  Filters(common::net::Worker& worker, common::dns::Resolver& resolver, std::shared_ptr<const FilterTerms> terms);
  Filters(const Filters&) = delete;
  Filters& operator=(const Filters&) = delete;

  /// What macros tell; kept up to date by the session.
  Facts& facts() { return facts_; }

  asio::awaitable<Decision> on_connect();
  asio::awaitable<Decision> on_helo(std::string name);
  /// Begins a message.
  asio::awaitable<Decision> on_mail(std::string path, std::string parameters);
  asio::awaitable<Decision> on_rcpt(std::string path, std::string parameters);
  asio::awaitable<Decision> on_data();
  asio::awaitable<Decision> on_unknown(std::string line);
  /// The message is in `draft` from its first octet to its last; if filters changed it, so are the changed one and its
  /// facts afterwards. `edits`: what is to become of its envelope.
  asio::awaitable<Decision> on_message(mailstore::Draft& draft, mailstore::BodyFacts& facts, Edits& edits);

  /// Between MAIL and the end of the message.
  bool in_message() const { return in_message_; }
  asio::awaitable<void> on_abort();
  asio::awaitable<void> on_quit();

 private:
  struct Told {
    Event event;
    std::string_view first{}, second{};
  };
  struct Filter {
    FilterSession session;
    std::chrono::steady_clock::time_point next_try{};
    bool left = false;  ///< lets the whole connection pass
  };
  class Message;

  static bool is_lost(const Filter& filter);
  asio::awaitable<Decision> ask_all(Told told);
  asio::awaitable<Decision> ask(Filter& filter, Told told);
  asio::awaitable<Decision> reopen(Filter& filter);
  asio::awaitable<Decision> decide(Filter& filter, Event event, FilterSession::Outcome outcome);
  Decision gone(Filter& filter, std::string_view why);
  Decision answer_for_gone() const;
  asio::awaitable<Decision> show(Filter& filter, Message& message);
  asio::awaitable<FilterSession::Outcome> show_message(FilterSession& filter, Message& message, Changes& changes);

  common::net::Worker& worker_;
  common::dns::Resolver& resolver_;
  std::shared_ptr<const FilterTerms> terms_;
  Facts facts_;
  std::string helo_;
  std::vector<std::unique_ptr<Filter>> filters_;
  bool in_message_ = false;
  bool discarded_ = false;  ///< the running message will be, whatever else is said
};

}  // namespace smtpd::milter
