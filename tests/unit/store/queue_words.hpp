#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "expect.hpp"
#include "mailstore/queue.hpp"
#include "tests/support/store_harness.hpp"
#include "tests/support/wait_for.hpp"

/// What the tests of the queue say to it and ask of it.
namespace tests::queue {

using namespace mailstore;

inline tests::Letter letter_to(std::vector<std::string> addresses, std::vector<MailboxNumber> boxes = {}) {
  tests::Letter letter{.to = std::move(boxes), .octets = tests::make_message("queued", 500)};
  for (auto& address : addresses)
    letter.remotes.push_back({.address = std::move(address), .original_recipient = {}, .notify = 0});
  return letter;
}

inline Time at(std::int64_t seconds) {
  return Time{std::chrono::seconds{1'700'000'000 + seconds}};
}

inline Attempt failed_attempt(const char* text = "come back later") {
  return {
      .at = at(0), .answer = {.code = 451, .enhanced = "4.3.0", .text = text}, .peer = "mx[192.0.2.1]:25", .tls = {}};
}

inline Settlement delivered(const QueueName& name) {
  return {.name = name,
          .what = Leaves{.outcome = QueueOutcome::delivered, .attempt = {.at = at(1), .answer = {.code = 250}}}};
}
inline Settlement failed(const QueueName& name) {
  return {.name = name,
          .what = Leaves{.outcome = QueueOutcome::failed,
                         .attempt = {.at = at(1), .answer = {.code = 550, .enhanced = "5.1.1", .text = "who?"}}}};
}

inline std::vector<std::string> addresses(const std::vector<QueuedRecipient>& of) {
  std::vector<std::string> all;
  all.reserve(of.size());
  for (const auto& one : of) all.push_back(one.address);
  return all;
}
using Texts = std::vector<std::string>;

/// Everything that fits, in pages of two.
inline std::vector<QueuedRecipient> listed(Queue queue, const QueueFilter& filter = {}) {
  std::vector<QueuedRecipient> all;
  std::optional<QueuePlace> after;
  for (bool more = true; more;) {
    auto page = got(queue.list(filter, after, 2));
    all.insert(all.end(), page.recipients.begin(), page.recipients.end());
    after = page.last;
    more = page.more;
  }
  return all;
}

inline std::vector<DoneRecipient> left(Queue queue, std::optional<MessageId> id = {}) {
  std::vector<DoneRecipient> all;
  DonePlace after;
  for (bool more = true; more;) {
    auto page = got(queue.done(after, 2, id));
    all.insert(all.end(), page.recipients.begin(), page.recipients.end());
    after = page.last;
    more = page.more;
  }
  return all;
}

inline std::uint64_t order(Queue queue, std::vector<QueueName> names, QueueOrder what) {
  return got(wait_for(queue.order(std::move(names), std::move(what))));
}
inline std::uint64_t settle(Queue queue, std::vector<Settlement> outcomes, std::vector<Round> rounds = {}) {
  return got(wait_for(queue.settle(std::move(outcomes), std::move(rounds)))).settled;
}

inline asio::awaitable<Result<SettleResult>> report_on(Store& store, std::vector<Settlement> outcomes,
                                                       Envelope envelope, std::string octets) {
  auto beginning = store.begin();
  auto draft = co_await std::move(beginning);
  if (!draft) co_return std::unexpected(draft.error());
  draft->append(octets);
  Successor successor{.draft = std::move(*draft), .envelope = std::move(envelope), .facts = tests::facts_of(octets)};
  auto settling = store.queue().settle(std::move(outcomes), std::move(successor));
  co_return co_await std::move(settling);
}

inline Envelope to_box(MailboxNumber box) {
  Envelope envelope;
  envelope.owners.push_back(
      {.mailbox = box, .delivered_to = tests::address_of(box), .original_recipient = {}, .unique_id = {}});
  return envelope;
}

/// Put into a draft, read back in pieces, written anew with a line in front, accepted with its queue held.
inline asio::awaitable<Result<MessageId>> rewrite_and_hold(Store& store, std::string octets, std::string address) {
  auto beginning = store.begin();
  auto draft = co_await std::move(beginning);
  if (!draft) co_return std::unexpected(draft.error());
  for (std::size_t at = 0; at < octets.size(); at += 30'000) {
    draft->append(std::string_view{octets}.substr(at, 30'000));
    if (!draft->wants_spill()) continue;
    auto spilling = draft->spill();
    if (auto spilled = co_await std::move(spilling); !spilled) co_return std::unexpected(spilled.error());
  }
  auto fresh = draft->beside();
  std::string written = "X-New: yes\r\n";
  fresh.append(written);
  std::string into(1000, '\0');
  for (std::uint64_t at = 0;;) {
    const auto piece = draft->read(at, into);
    if (!piece) co_return std::unexpected(piece.error());
    if (piece->empty()) break;
    written += *piece;
    fresh.append(*piece);
    at += piece->size();
  }
  if (written.size() != octets.size() + 12 || fresh.id() != draft->id()) co_return fail(Errc::corrupt, "not the same");
  Envelope envelope;
  envelope.remotes.push_back({.address = std::move(address), .original_recipient = {}, .notify = 0});
  const auto id = fresh.id();
  auto accepting =
      store.accept_held(std::move(fresh), std::move(envelope), tests::facts_of(written), "a filter wants it");
  auto accepted = co_await std::move(accepting);
  if (!accepted) co_return std::unexpected(accepted.error());
  co_return id;
}

inline std::string octets_of(Queue queue, MessageId id) {
  std::vector<char> scratch(4096);
  const auto message = got(queue.open_message(id, scratch, scratch.size()));
  CHECK(message.front.empty());
  return std::string(message.prefix);
}

}  // namespace tests::queue
