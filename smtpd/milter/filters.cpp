#include "smtpd/milter/filters.hpp"

#include <array>
#include <utility>

#include "common/log.hpp"

#include "smtpd/milter/message_body.hpp"

namespace smtpd::milter {
namespace {

namespace log = common::log;

/// A filter that could not be reached is left alone by the session for so long, whatever others find.
constexpr auto rest_after_failure = Seen::rest;

/// Header section and body together: what Sendmail's own buffers take without a wait.
constexpr std::uint64_t told_at_once = 32 * 1024;

std::string_view name_of(Event event) {
  static constexpr auto names = std::to_array<std::string_view>(
      {"connect", "helo", "mail", "rcpt", "data", "end of header", "end of message", "unknown", "header", "body"});
  return names[static_cast<std::size_t>(event)];
}

Decision refuse(Cause cause, std::string detail = {}) {
  Decision decision;
  decision.kind = Decision::Kind::refuse;
  decision.reply = {cause, std::move(detail)};
  return decision;
}

Decision refuse(mailstore::Error error) {
  Decision decision;
  decision.kind = Decision::Kind::refuse;
  decision.store = std::move(error);
  return decision;
}

}  // namespace

/// The message as the filters so far have left it.
class Filters::Message {
 public:
  Message(mailstore::Draft& draft, mailstore::BodyFacts& facts) : draft_(draft), facts_(facts) {}

  /// Reads the header section.
  mailstore::Result<void> open() {
    std::string stored;
    std::array<char, 4096> into;
    while (stored.size() < facts_.header_octets) {
      const auto piece = draft_.read(stored.size(), into);
      if (!piece) return std::unexpected(piece.error());
      if (piece->empty())
        return mailstore::fail(mailstore::Errc::corrupt, "a draft is shorter than its header section");
      stored += piece->substr(0, facts_.header_octets - stored.size());
    }
    edits.header = HeaderSection{stored};
    body = {&draft_, facts_.header_octets, draft_.size() - facts_.header_octets,
            facts_.octets - edits.header.real_octets()};
    return {};
  }

  Changes begin_changes(std::uint64_t body_limit) { return {edits, nullptr, draft_, body_limit, 0}; }
  /// Error: the store's.
  asio::awaitable<mailstore::Result<void>> take(Changes changes) {
    edits = std::move(changes.edits);
    if (!changes.body) co_return mailstore::Result<void>{};
    changes.body->finish();
    if (changes.body->wants_spill()) co_await changes.body->spill();
    if (const auto& failed = changes.body->trouble()) co_return std::unexpected(*failed);
    const auto facts = changes.body->facts();
    replaced_ = std::make_unique<mailstore::Draft>(changes.body->take());
    // The empty line in front belongs to the header section.
    body = {replaced_.get(), facts.header_octets, replaced_->size() - facts.header_octets,
            facts.octets - facts.header_octets};
    edits.header.end_with_empty_line();
    co_return mailstore::Result<void>{};
  }
  bool changed() const { return edits.header.changed() || replaced_; }

  /// The changed message takes the place of what was, under the same id.
  asio::awaitable<mailstore::Result<void>> rewrite(std::span<char> scratch) {
    auto fresh = draft_.beside();
    const auto header = edits.header.format();
    fresh.append(header.octets);
    BodyReader reader{body};
    for (;;) {
      const auto piece = reader.next_stored(scratch, SIZE_MAX);
      if (!piece) co_return std::unexpected(piece.error());
      if (piece->empty()) break;
      fresh.append(*piece);
      if (!fresh.wants_spill()) continue;
      auto spilling = fresh.spill();
      auto spilled = co_await std::move(spilling);
      if (!spilled) co_return spilled;
    }
    facts_.octets = header.real_octets + body.real_octets;
    facts_.header_octets = header.octets.size();
    facts_.stuffed = fresh.size() != facts_.octets;
    draft_ = std::move(fresh);
    co_return mailstore::Result<void>{};
  }

  Edits edits;
  BodyPlace body;
  std::optional<mailstore::Error> trouble;  ///< of the store, while it was read

 private:
  mailstore::Draft& draft_;
  mailstore::BodyFacts& facts_;
  std::unique_ptr<mailstore::Draft> replaced_;
};

Filters::Filters(common::net::Worker& worker, common::dns::Resolver& resolver, std::shared_ptr<const FilterTerms> terms)
    : worker_(worker), resolver_(resolver), terms_(std::move(terms)) {
  for (std::size_t i = 0; i < terms_->places.size(); ++i) {
    filters_.push_back(std::unique_ptr<Filter>(new Filter{{worker_, resolver_, *terms_, i}}));
  }
}

Decision Filters::gone(Filter& filter, std::string_view why) {
  filter.session.close();
  log::warning("filter.gone", {{"filter", filter.session.name()},
                               {"why", why},
                               {"peer", facts_.client_address},
                               {"id", facts_.id},
                               {"server", facts_.daemon}});
  return answer_for_gone();
}

Decision Filters::answer_for_gone() const {
  switch (terms_->when_gone) {
    case WhenGone::accept:
      return {};
    case WhenGone::reject:
      return refuse(Cause::filter_gone_for_good);
    case WhenGone::tempfail:
      break;
  }
  return refuse(Cause::filter_gone);
}

/// Connected anew, it is told how the session began.
asio::awaitable<Decision> Filters::reopen(Filter& filter) {
  if (worker_.clock().steady() < filter.next_try || !filter.session.may_open()) co_return answer_for_gone();
  auto opening = filter.session.open();
  const auto opened = co_await std::move(opening);
  if (!opened) {
    filter.next_try = worker_.clock().steady() + rest_after_failure;
    co_return gone(filter, opened.error());
  }
  Told told{Event::connect};
  auto asking = ask(filter, told);
  auto decision = co_await std::move(asking);
  if (decision.kind == Decision::Kind::go_on && filter.session.is_open() && !helo_.empty()) {
    told = {Event::helo, helo_};
    auto asking_again = ask(filter, told);
    decision = co_await std::move(asking_again);
  }
  co_return decision;
}

/// What one filter says to one step, of those that are no message.
asio::awaitable<Decision> Filters::ask(Filter& filter, Told told) {
  auto& conversation = filter.session.conversation();
  Expects expects = Expects::nothing;
  switch (told.event) {
    case Event::connect:
      expects = conversation.on_connect(facts_);
      break;
    case Event::helo:
      expects = conversation.on_helo(told.first, facts_);
      break;
    case Event::mail:
      expects = conversation.on_mail(told.first, told.second, facts_);
      break;
    case Event::rcpt:
      expects = conversation.on_rcpt(told.first, told.second, facts_);
      break;
    case Event::data:
      expects = conversation.on_data(facts_);
      break;
    case Event::unknown:
      expects = conversation.on_unknown(told.first);
      break;
    default:
      break;
  }
  auto settling = filter.session.settle(expects, terms_->command_timeout);
  auto outcome = co_await std::move(settling);
  auto deciding = decide(filter, told.event, std::move(outcome));
  co_return co_await std::move(deciding);
}

asio::awaitable<Decision> Filters::decide(Filter& filter, Event event, FilterSession::Outcome outcome) {
  if (!outcome) co_return gone(filter, outcome.error());
  Decision decision;
  switch (outcome->ruling) {
    case Ruling::go_on:
    case Ruling::skip:
      break;
    case Ruling::accept:
      if (filter.session.conversation().leaves()) {
        filter.left = true;
        filter.session.conversation().on_quit();
        auto leaving = filter.session.send_off();
        co_await std::move(leaving);
        filter.session.close();
      }
      break;
    case Ruling::discard:
      decision.kind = Decision::Kind::discard;
      break;
    case Ruling::reject:
      decision = refuse(Cause::filter_refused);
      break;
    case Ruling::tempfail:
      decision = refuse(Cause::filter_deferred);
      break;
    case Ruling::say:
      decision = refuse(Cause::filter_said, std::move(outcome->words));
      break;
    case Ruling::close:
      decision = outcome->words.empty() ? refuse(Cause::filter_closes, facts_.hostname)
                                        : refuse(Cause::filter_said, std::move(outcome->words));
      break;
  }
  if (decision.kind != Decision::Kind::go_on) {
    const bool discards = decision.kind == Decision::Kind::discard;
    log::info(discards ? "filter.discards" : "filter.refuses",
              {{"filter", filter.session.name()},
               {"step", name_of(event)},
               {"code", discards ? std::string{} : format_code(decision.reply)},
               {"from", facts_.mail_address},
               {"to", event == Event::rcpt ? facts_.rcpt_address : std::string{}},
               {"peer", facts_.client_address},
               {"id", facts_.id},
               {"server", facts_.daemon}});
  }
  co_return decision;
}

/// Whether a filter that was just asked about the connection is not there any more: it is mail that it is wanted for,
/// and until then it may be back.
bool Filters::is_lost(const Filter& filter) {
  return !filter.left && !filter.session.is_open();
}

asio::awaitable<Decision> Filters::on_connect() {
  const Told told{Event::connect};
  for (const auto& filter : filters_) {
    if (!filter->session.may_open()) continue;
    auto opening = filter->session.open();
    const auto opened = co_await std::move(opening);
    if (!opened) {
      filter->next_try = worker_.clock().steady() + rest_after_failure;
      gone(*filter, opened.error());
      continue;
    }
    auto asking = ask(*filter, told);
    auto decision = co_await std::move(asking);
    if (decision.kind != Decision::Kind::go_on && !is_lost(*filter)) co_return decision;
  }
  co_return Decision{};
}

asio::awaitable<Decision> Filters::on_helo(std::string name) {
  if (in_message_) co_await on_abort();
  helo_ = std::move(name);
  const Told told{Event::helo, helo_};
  for (const auto& filter : filters_) {
    if (filter->left || is_lost(*filter)) continue;
    auto asking = ask(*filter, told);
    auto decision = co_await std::move(asking);
    if (decision.kind != Decision::Kind::go_on && !is_lost(*filter)) co_return decision;
  }
  co_return Decision{};
}

asio::awaitable<Decision> Filters::on_unknown(std::string line) {
  const Told told{Event::unknown, line};
  for (const auto& filter : filters_) {
    if (filter->left || is_lost(*filter)) continue;
    auto asking = ask(*filter, told);
    auto decision = co_await std::move(asking);
    if (decision.kind != Decision::Kind::go_on && !is_lost(*filter)) co_return decision;
  }
  co_return Decision{};
}

asio::awaitable<Decision> Filters::on_mail(std::string path, std::string parameters) {
  if (in_message_) co_await on_abort();
  in_message_ = true;
  discarded_ = false;
  for (const auto& filter : filters_) {
    if (filter->left || filter->session.is_alive()) continue;
    auto opening = reopen(*filter);
    auto decision = co_await std::move(opening);
    if (decision.kind == Decision::Kind::go_on) continue;
    co_await on_abort();
    co_return decision;
  }
  const Told told{Event::mail, path, parameters};
  auto asking = ask_all(told);
  auto decision = co_await std::move(asking);
  if (decision.kind != Decision::Kind::go_on) co_await on_abort();
  co_return decision;
}

asio::awaitable<Decision> Filters::on_rcpt(std::string path, std::string parameters) {
  const Told told{Event::rcpt, path, parameters};
  auto asking = ask_all(told);
  co_return co_await std::move(asking);
}

asio::awaitable<Decision> Filters::on_data() {
  const Told told{Event::data};
  auto asking = ask_all(told);
  auto decision = co_await std::move(asking);
  if (decision.kind != Decision::Kind::go_on) co_await on_abort();
  co_return decision;
}

/// Of a step of a message.
asio::awaitable<Decision> Filters::ask_all(Told told) {
  for (const auto& filter : filters_) {
    if (discarded_) break;
    if (filter->left) continue;
    auto decision = answer_for_gone();
    if (!is_lost(*filter)) {
      auto asking = ask(*filter, told);
      decision = co_await std::move(asking);
    }
    if (decision.kind == Decision::Kind::discard) discarded_ = true;
    if (decision.kind == Decision::Kind::refuse) co_return decision;
  }
  co_return Decision{};
}

asio::awaitable<Decision> Filters::on_message(mailstore::Draft& draft, mailstore::BodyFacts& facts, Edits& edits) {
  Decision decision;
  if (discarded_) {
    co_await on_abort();
    decision.kind = Decision::Kind::discard;
    co_return decision;
  }
  Message message{draft, facts};
  if (auto opened = message.open(); !opened) decision = refuse(std::move(opened.error()));
  for (const auto& filter : filters_) {
    if (decision.kind != Decision::Kind::go_on) break;
    if (filter->left) continue;
    if (is_lost(*filter)) {
      decision = answer_for_gone();
      continue;
    }
    if (!filter->session.conversation().takes_part()) continue;
    auto showing = show(*filter, message);
    decision = co_await std::move(showing);
  }
  if (decision.kind != Decision::Kind::go_on) {
    co_await on_abort();
    co_return decision;
  }
  for (const auto& filter : filters_) filter->session.conversation().on_settled();
  in_message_ = false;
  if (message.changed()) {
    auto rewriting = message.rewrite(worker_.scratch());
    auto rewritten = co_await std::move(rewriting);
    if (!rewritten) co_return refuse(std::move(rewritten.error()));
  }
  edits = std::move(message.edits);
  co_return decision;
}

asio::awaitable<Decision> Filters::show(Filter& filter, Message& message) {
  auto changes = message.begin_changes(terms_->message_octets);
  auto showing = show_message(filter.session, message, changes);
  auto outcome = co_await std::move(showing);
  if (message.trouble) co_return refuse(std::move(*message.trouble));
  const bool spoke = outcome.has_value();
  auto deciding = decide(filter, Event::end_of_message, std::move(outcome));
  auto decision = co_await std::move(deciding);
  if (decision.kind != Decision::Kind::go_on || !spoke) co_return decision;
  auto taking = message.take(std::move(changes));
  auto taken = co_await std::move(taking);
  if (!taken) decision = refuse(std::move(taken.error()));
  co_return decision;
}

/// The header section, the body, the end: what the filter says first that is not "go on". A short message is told as a
/// whole before the first answer is heard, as nearly every filter lets it come to its end: a fifth of the system calls.
asio::awaitable<FilterSession::Outcome> Filters::show_message(FilterSession& filter, Message& message,
                                                              Changes& changes) {
  auto& conversation = filter.conversation();
  const auto patience = terms_->content_timeout;
  const bool at_once =
      !filter.decides_early() && message.edits.header.octets() + message.body.real_octets <= told_at_once;
  for (std::size_t i = 0; conversation.wants_headers() && i < message.edits.header.size(); ++i) {
    const auto expects = conversation.on_header(message.edits.header.field(i));
    if (at_once) continue;
    auto settling = filter.settle(expects, patience);
    auto outcome = co_await std::move(settling);
    if (!outcome || outcome->ruling != Ruling::go_on) co_return outcome;
  }
  if (const auto expects = conversation.on_end_of_header(facts_); !at_once) {
    auto settling = filter.settle(expects, patience);
    auto outcome = co_await std::move(settling);
    if (!outcome || outcome->ruling != Ruling::go_on) co_return outcome;
  }
  BodyReader reader{message.body};
  while (conversation.wants_body()) {
    const auto piece = reader.next_real(worker_.scratch(), body_piece_limit);
    if (!piece) {
      message.trouble = piece.error();
      co_return Ruled{};
    }
    if (piece->empty()) break;
    const auto expects = conversation.on_body(piece->size());
    if (at_once) {
      conversation.output() += *piece;
      continue;
    }
    auto settling = filter.settle(expects, patience, *piece);
    auto outcome = co_await std::move(settling);
    if (!outcome || (outcome->ruling != Ruling::go_on && outcome->ruling != Ruling::skip)) co_return outcome;
  }
  const auto expects = conversation.on_end_of_message(facts_);
  auto settling = filter.settle(expects, patience, {}, &changes);
  co_return co_await std::move(settling);
}

asio::awaitable<void> Filters::on_abort() {
  in_message_ = false;
  for (const auto& filter : filters_) {
    if (filter->left || is_lost(*filter)) continue;
    filter->session.conversation().on_abort();
    auto sending = filter->session.send_off();
    co_await std::move(sending);
  }
}

asio::awaitable<void> Filters::on_quit() {
  for (const auto& filter : filters_) {
    if (filter->left || is_lost(*filter)) continue;
    if (in_message_) filter->session.conversation().on_abort();
    filter->session.conversation().on_quit();
    auto sending = filter->session.send_off();
    co_await std::move(sending);
    filter->session.close();
  }
  in_message_ = false;
}

}  // namespace smtpd::milter
