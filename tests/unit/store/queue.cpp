#include "mailstore/queue.hpp"

#include <filesystem>

#include "expect.hpp"
#include "mailstore/lmdb.hpp"
#include "mailstore/queue_rows.hpp"
#include "tests/support/store_harness.hpp"
#include "tests/support/wait_for.hpp"

using namespace mailstore;
using std::chrono::microseconds;
using tests::error_of;
using tests::got;
using tests::problems;
using tests::TestStore;
using tests::wait_for;

namespace {

tests::Letter letter_to(std::vector<std::string> addresses, std::vector<MailboxNumber> boxes = {}) {
  tests::Letter letter{.to = std::move(boxes), .octets = tests::make_message("queued", 500)};
  for (auto& address : addresses)
    letter.remotes.push_back({.address = std::move(address), .original_recipient = {}, .notify = 0});
  return letter;
}

Time at(std::int64_t seconds) {
  return Time{std::chrono::seconds{1'700'000'000 + seconds}};
}

Attempt failed_attempt(const char* text = "come back later") {
  return {
      .at = at(0), .answer = {.code = 451, .enhanced = "4.3.0", .text = text}, .peer = "mx[192.0.2.1]:25", .tls = {}};
}

Settlement delivered(const QueueName& name) {
  return {.name = name,
          .what = Leaves{.outcome = QueueOutcome::delivered, .attempt = {.at = at(1), .answer = {.code = 250}}}};
}
Settlement failed(const QueueName& name) {
  return {.name = name,
          .what = Leaves{.outcome = QueueOutcome::failed,
                         .attempt = {.at = at(1), .answer = {.code = 550, .enhanced = "5.1.1", .text = "who?"}}}};
}

std::vector<std::string> addresses(const std::vector<QueuedRecipient>& of) {
  std::vector<std::string> all;
  all.reserve(of.size());
  for (const auto& one : of) all.push_back(one.address);
  return all;
}
using Texts = std::vector<std::string>;

/// Everything that fits, in pages of two.
std::vector<QueuedRecipient> listed(Queue queue, const QueueFilter& filter = {}) {
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

std::vector<DoneRecipient> left(Queue queue, std::optional<MessageId> id = {}) {
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

std::uint64_t order(Queue queue, std::vector<QueueName> names, QueueOrder what) {
  return got(wait_for(queue.order(std::move(names), std::move(what))));
}
std::uint64_t settle(Queue queue, std::vector<Settlement> outcomes, std::vector<Round> rounds = {}) {
  return got(wait_for(queue.settle(std::move(outcomes), std::move(rounds)))).settled;
}

asio::awaitable<Result<SettleResult>> report_on(Store& store, std::vector<Settlement> outcomes, Envelope envelope,
                                                std::string octets) {
  auto beginning = store.begin();
  auto draft = co_await std::move(beginning);
  if (!draft) co_return std::unexpected(draft.error());
  draft->append(octets);
  Successor successor{.draft = std::move(*draft), .envelope = std::move(envelope), .facts = tests::facts_of(octets)};
  auto settling = store.queue().settle(std::move(outcomes), std::move(successor));
  co_return co_await std::move(settling);
}

Envelope to_box(MailboxNumber box) {
  Envelope envelope;
  envelope.owners.push_back(
      {.mailbox = box, .delivered_to = tests::address_of(box), .original_recipient = {}, .unique_id = {}});
  return envelope;
}

/// Put into a draft, read back in pieces, written anew with a line in front, accepted with its queue held.
asio::awaitable<Result<MessageId>> rewrite_and_hold(Store& store, std::string octets, std::string address) {
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

std::string octets_of(Queue queue, MessageId id) {
  std::vector<char> scratch(4096);
  const auto message = got(queue.open_message(id, scratch, scratch.size()));
  CHECK(message.front.empty());
  return std::string(message.prefix);
}

}  // namespace

TEST_CASE("recipients that live elsewhere are queued in the transaction that delivers to those that live here") {
  TestStore store(1);
  auto letter = letter_to({"bob@far.test", "eve@else.test", "ann@far.test"}, {store.boxes()[0]});
  letter.remotes[1].notify = notify_failure | notify_delay;
  letter.remotes[1].original_recipient = "rfc822;Eve+2B@else.test";
  const auto before = store->counters().commits;
  const auto id = got(tests::deliver(*store, letter));
  CHECK(store->counters().commits == before + 1);
  CHECK(store->counters().queued == 3);
  auto queue = store->queue();
  CHECK(got(tests::entries(*store, store.boxes()[0])).size() == 1);
  const auto waiting = listed(queue);
  REQUIRE(addresses(waiting) == Texts{"eve@else.test", "bob@far.test", "ann@far.test"});
  CHECK(waiting[0].name == QueueName{"else.test", id, 1});
  CHECK(waiting[0].notify == (notify_failure | notify_delay));
  CHECK(waiting[0].reverse_path == letter.from);
  CHECK(waiting[0].server == "test");
  CHECK(waiting[0].octets == tests::real_octets(letter.octets));
  CHECK(waiting[0].state == QueueState::waiting);
  CHECK(waiting[0].due == no_time);
  CHECK(addresses(got(queue.recipients(id))) == Texts{"bob@far.test", "eve@else.test", "ann@far.test"});
  CHECK(octets_of(queue, id) == letter.octets);
  std::vector<char> scratch(100);  // too small for the head
  const auto message = got(queue.open_message(id, scratch, 0));
  CHECK(message.envelope().remotes.size() == 3);
  CHECK(message.envelope().remotes[1].original_recipient == "rfc822;Eve+2B@else.test");
  CHECK(message.octets == tests::real_octets(letter.octets));
  CHECK(message.header_octets == tests::facts_of(letter.octets).header_octets);

  const auto domains = got(queue.domains({}, 10));
  REQUIRE(domains.domains.size() == 2);
  CHECK_FALSE(domains.more);
  CHECK(domains.domains[1].name == "far.test");
  CHECK(domains.domains[1].waiting == 2);
  CHECK(domains.domains[1].next_round == no_time);
  CHECK(got(store->stat()).queued == 3);
  CHECK(problems(*store).empty());
  store.reopen();
  CHECK(listed(store->queue()).size() == 3);
  CHECK(problems(*store).empty());
}

TEST_CASE("a message lives until its last owner is gone, wherever that is") {
  TestStore store(1);
  const auto id = got(tests::deliver(*store, letter_to({"bob@far.test", "ann@far.test"}, {store.boxes()[0]})));
  auto queue = store->queue();
  const QueueName bob{"far.test", id, 0};
  const QueueName ann{"far.test", id, 1};
  CHECK(settle(queue, {delivered(bob)}) == 1);
  CHECK(got(tests::remove(*store, store.boxes()[0], {id})) == 1);
  CHECK(got(store->stat()).messages == 1);
  CHECK(problems(*store).empty());
  // Said twice, it is done once.
  const auto again = got(wait_for(queue.settle({delivered(bob), delivered(ann)})));
  CHECK(again.settled == 1);
  CHECK(again.gone == 1);
  CHECK(got(store->stat()).messages == 0);
  CHECK(got(queue.domains({}, 10)).domains.empty());
  std::vector<char> scratch(4096);
  CHECK(error_of(queue.open_message(id, scratch, 0)) == Errc::not_found);
  CHECK(store->counters().settled == 2);
  CHECK(problems(*store).empty());
}

TEST_CASE("what left is remembered, by message and in order, until it is trimmed") {
  TestStore store(0);
  auto queue = store->queue();
  const auto first = got(tests::deliver(*store, letter_to({"a@far.test", "b@far.test"})));
  const auto second = got(tests::deliver(*store, letter_to({"c@else.test"})));
  settle(queue, {delivered({"far.test", first, 1})});
  settle(queue, {failed({"else.test", second, 0})});
  settle(queue, {{.name = {"far.test", first, 0},
                  .what = Leaves{.outcome = QueueOutcome::relayed, .attempt = {.at = at(5)}}}});
  const auto all = left(queue);
  REQUIRE(all.size() == 3);
  CHECK(all[2].at == at(5));
  CHECK(all[2].outcome == QueueOutcome::relayed);
  CHECK(all[2].address == "a@far.test");
  const auto of_first = left(queue, first);
  // Its id says when it was accepted, which is after at(5): what left "before" is not looked for.
  CHECK(of_first.empty());
  CHECK(got(queue.stat()).done == 3);
  CHECK(got(wait_for(queue.trim_done(at(5)))) == 2);
  CHECK(left(queue).size() == 1);
  CHECK(got(wait_for(queue.trim_done(at(6)))) == 1);

  const auto third = got(tests::deliver(*store, letter_to({"d@far.test", "e@far.test"})));
  CHECK(order(queue, {{"far.test", third, 0}}, DeleteOrder{}) == 1);
  const auto of_third = left(queue, third);
  REQUIRE(of_third.size() == 1);
  CHECK(of_third[0].outcome == QueueOutcome::deleted);
  CHECK(of_third[0].at >= accepted_at(third));
  CHECK(problems(*store).empty());
}

TEST_CASE("without keep_done nothing is remembered") {
  TestStore store(0, [](Options& options) { options.keep_done = std::chrono::seconds(0); });
  const auto id = got(tests::deliver(*store, letter_to({"a@far.test", "b@far.test"})));
  settle(store->queue(), {delivered({"far.test", id, 0})});
  order(store->queue(), {{"far.test", id, 1}}, DeleteOrder{});
  CHECK(left(store->queue()).empty());
  CHECK(got(store->stat()).messages == 0);
}

TEST_CASE("a recipient with an answer of its own has its own due time") {
  TestStore store(0);
  auto queue = store->queue();
  const auto id = got(tests::deliver(*store, letter_to({"a@far.test", "b@far.test", "c@far.test"})));
  settle(queue, {{.name = {"far.test", id, 0}, .what = Stays{.attempt = failed_attempt(), .due = at(100)}},
                 {.name = {"far.test", id, 1}, .what = Stays{.attempt = failed_attempt(), .due = at(50)}}});
  auto domain = got(queue.domain("far.test"));
  REQUIRE(domain);
  CHECK(domain->waiting == 3);
  CHECK(domain->due_alone == 2);
  CHECK(domain->next_due == at(50));
  const auto ready = [&](Time now) { return addresses(got(queue.ready("far.test", now, {}, 10)).recipients); };
  CHECK(ready(at(0)) == Texts{"c@far.test"});
  CHECK(ready(at(50)) == Texts{"b@far.test", "c@far.test"});
  CHECK(ready(at(100)) == Texts{"a@far.test", "b@far.test", "c@far.test"});
  const auto none = got(queue.due("far.test", at(49), {}, 10));
  CHECK(none.recipients.empty());
  CHECK(none.next == at(50));
  const auto first = got(queue.due("far.test", at(200), {}, 1));
  CHECK(addresses(first.recipients) == Texts{"b@far.test"});
  CHECK(first.more);
  CHECK(first.recipients[0].attempts == 1);
  CHECK(first.recipients[0].last.answer.text == "come back later");
  const auto second = got(queue.due("far.test", at(200), first.last, 10));
  CHECK(addresses(second.recipients) == Texts{"a@far.test"});
  CHECK_FALSE(second.more);
  CHECK(second.next == no_time);
  // Back to its domain's round, and away.
  settle(queue, {{.name = {"far.test", id, 1}, .what = Stays{.attempt = failed_attempt(), .due = no_time}}});
  CHECK(got(queue.domain("far.test"))->due_alone == 1);
  settle(queue, {delivered({"far.test", id, 0})});
  CHECK(got(queue.domain("far.test"))->next_due == no_time);
  CHECK(problems(*store).empty());
}

TEST_CASE("a failed round writes the domain's row, however many wait") {
  TestStore store(0);
  auto queue = store->queue();
  const auto id = got(tests::deliver(*store, letter_to({"a@far.test", "b@far.test"})));
  settle(queue, {},
         {{.domain = "far.test", .next = at(900), .attempt = failed_attempt("no route")},
          {.domain = "nobody.test", .next = at(900), .attempt = failed_attempt()}});
  settle(queue, {}, {{.domain = "far.test", .next = at(1800), .attempt = failed_attempt("still none")}});
  auto domain = *got(queue.domain("far.test"));
  CHECK(domain.failed_rounds == 2);
  CHECK(domain.next_round == at(1800));
  CHECK(domain.first_failure == at(0));
  CHECK(domain.last.answer.text == "still none");
  CHECK_FALSE(got(queue.domain("nobody.test")));
  CHECK(got(queue.recipients(id))[0].attempts == 0);
  CHECK(got(queue.stat()).failing == 1);
  // Mail that comes meanwhile joins the round.
  got(tests::deliver(*store, letter_to({"c@far.test"})));
  CHECK(got(queue.domain("far.test"))->next_round == at(1800));
  CHECK(got(queue.domain("far.test"))->waiting == 3);
  settle(queue, {delivered({"far.test", id, 0})}, {{.domain = "far.test", .next = no_time, .attempt = {}}});
  domain = *got(queue.domain("far.test"));
  CHECK(domain.failed_rounds == 0);
  CHECK(domain.next_round == no_time);
  CHECK(domain.first_failure == no_time);
  CHECK(problems(*store).empty());
}

TEST_CASE("a report and the removal of those it speaks of are one") {
  TestStore store(1);
  auto queue = store->queue();
  const auto box = store.boxes()[0];
  const auto id = got(tests::deliver(*store, letter_to({"a@far.test", "b@far.test", "c@far.test"})));
  const std::string text = "Subject: not delivered\r\n\r\n";
  const auto report = [&](std::vector<Settlement> outcomes) {
    return got(wait_for(report_on(*store, std::move(outcomes), to_box(box), text)));
  };
  const auto commits = store->counters().commits;
  auto result = report({failed({"far.test", id, 0}), failed({"far.test", id, 1})});
  CHECK(store->counters().commits == commits + 1);
  CHECK(result.successor_taken);
  CHECK(result.settled == 2);
  const auto told = got(tests::entries(*store, box));
  REQUIRE(told.size() == 1);
  CHECK(addresses(listed(queue)) == Texts{"c@far.test"});
  CHECK(left(queue)[0].successor == told[0].id);
  // Repeated, it is not doubled.
  result = report({failed({"far.test", id, 0}), failed({"far.test", id, 1})});
  CHECK_FALSE(result.successor_taken);
  CHECK(result.gone == 2);
  CHECK(got(tests::entries(*store, box)).size() == 1);
  // A delay notice likewise.
  CHECK(report({{.name = {"far.test", id, 2}, .what = Noticed{}}}).successor_taken);
  CHECK(listed(queue)[0].delay_noticed);
  CHECK_FALSE(report({{.name = {"far.test", id, 2}, .what = Noticed{}}}).successor_taken);
  CHECK(got(tests::entries(*store, box)).size() == 2);
  CHECK(problems(*store).empty());
  // What was not accepted is not brought back either.
  queue = Queue(nullptr);  // a handle holds the store
  store.close();
  got(Store::rebuild(store.options()));
  got(store.open());
  CHECK(got(tests::entries(*store, box)).size() == 2);
  CHECK(addresses(listed(store->queue())) == Texts{"c@far.test"});
  CHECK(error_of(wait_for(report_on(*store, {}, to_box(box), text))) == Errc::conflict);
}

TEST_CASE("a recipient that turns out to live here gets a copy, in the transaction that takes it out of the queue") {
  TestStore store(1, [](Options& options) { options.stream_threshold = 30'000; });
  auto queue = store->queue();
  for (const std::size_t size : {500U, 200'000U}) {
    CAPTURE(size);
    auto letter = letter_to({"a@far.test"});
    letter.octets = tests::make_message("moved", size);
    const auto id = got(tests::deliver(*store, letter));
    auto work = [](Store& from, MessageId which, MailboxNumber box) -> asio::awaitable<Result<SettleResult>> {
      auto copying = from.queue().copy(which);
      auto draft = co_await std::move(copying);
      if (!draft) co_return std::unexpected(draft.error());
      std::vector<char> scratch(4096);
      const auto message = from.queue().open_message(which, scratch, 0);
      if (!message) co_return std::unexpected(message.error());
      auto envelope = to_box(box);
      envelope.reverse_path = message->envelope().reverse_path;
      const BodyFacts facts{
          .octets = message->octets, .header_octets = message->header_octets, .stuffed = message->stuffed};
      Successor successor{.draft = std::move(*draft), .envelope = std::move(envelope), .facts = facts};
      std::vector<Settlement> outcomes{
          {.name = {"far.test", which, 0}, .what = Leaves{.outcome = QueueOutcome::expanded, .attempt = {}}}};
      auto settling = from.queue().settle(std::move(outcomes), std::move(successor));
      co_return co_await std::move(settling);
    };
    CHECK(got(wait_for(work(*store, id, store.boxes()[0]))).successor_taken);
    const auto there = got(tests::entries(*store, store.boxes()[0]));
    const auto octets = got(tests::read_message(*store, store.boxes()[0], there.back()));
    CHECK(octets == tests::front_of(letter, store.boxes()[0]) + letter.octets);
    CHECK(there.back().octets == octets.size() - (letter.octets.size() - tests::real_octets(letter.octets)));
  }
  CHECK(listed(queue).empty());
  CHECK(error_of(wait_for(queue.copy(MessageId{12345}))) == Errc::not_found);
  CHECK(problems(*store).empty());
}

TEST_CASE("people hold, release, retry, bounce, reroute and delete") {
  TestStore store(0);
  auto queue = store->queue();
  const auto id = got(tests::deliver(*store, letter_to({"a@far.test", "b@far.test"})));
  const QueueName a{"far.test", id, 0};
  const QueueName b{"far.test", id, 1};
  const auto row = [&](const QueueName& name) { return got(queue.recipients(id))[name.ordinal]; };
  const auto changes = [&] { return got(queue.status()).changes; };
  auto known = changes();
  const auto noticed = [&] {
    const auto now = changes();
    const bool grown = now > known && got(queue.domain("far.test"))->changed == now;
    known = now;
    return grown;
  };
  CHECK(order(queue, {a, {"far.test", id, 9}}, HoldOrder{"root: a look first"}) == 1);
  CHECK(noticed());
  CHECK(row(a).state == QueueState::held);
  CHECK(row(a).reason == "root: a look first");
  CHECK(row(a).since != no_time);
  CHECK(got(queue.domain("far.test"))->held == 1);
  CHECK(got(queue.domain("far.test"))->waiting == 1);
  CHECK(addresses(got(queue.ready("far.test", at(0), {}, 9)).recipients) == Texts{"b@far.test"});
  CHECK(addresses(got(queue.by_age("far.test", {}, 9)).recipients) == Texts{"a@far.test", "b@far.test"});
  CHECK(order(queue, {a}, HoldOrder{"again"}) == 0);
  CHECK_FALSE(noticed());
  CHECK(order(queue, {a}, RetryOrder{}) == 0);
  // What was in hand comes back with an answer: it stays held.
  settle(queue, {{.name = a, .what = Stays{.attempt = failed_attempt(), .due = at(60)}}});
  CHECK(row(a).state == QueueState::held);
  CHECK(got(queue.domain("far.test"))->next_due == no_time);
  CHECK(order(queue, {a, b}, ReleaseOrder{}) == 1);
  CHECK(row(a).state == QueueState::waiting);
  CHECK(row(a).reason.empty());
  CHECK(got(queue.domain("far.test"))->next_due == at(60));

  CHECK(order(queue, {a, b}, RetryOrder{}) == 2);
  CHECK(noticed());
  CHECK(got(queue.due("far.test", at(0), {}, 9)).recipients.size() == 2);
  CHECK(order(queue, {b}, BounceOrder{"root: no such person"}) == 1);
  CHECK(got(queue.domain("far.test"))->bounces == 1);
  const auto first = got(queue.due("far.test", bounce_time, {}, 9));
  REQUIRE(addresses(first.recipients) == Texts{"b@far.test"});
  CHECK(first.recipients[0].reason == "root: no such person");
  CHECK(first.next == retry_time);
  CHECK(order(queue, {a}, RerouteOrder{"[192.0.2.7]:2525"}) == 1);
  CHECK(row(a).reroute == "[192.0.2.7]:2525");
  CHECK(order(queue, {a}, RerouteOrder{"[192.0.2.7]:2525"}) == 0);
  CHECK(problems(*store).empty());
  CHECK(order(queue, {a, b}, DeleteOrder{}) == 2);
  CHECK(changes() > known);
  CHECK(got(store->stat()).messages == 0);
  CHECK(problems(*store).empty());
}

TEST_CASE("domains are suspended, resumed and flushed; all is held and released") {
  TestStore store(0);
  auto queue = store->queue();
  CHECK(error_of(wait_for(queue.flush("far.test"))) == Errc::not_found);
  CHECK(error_of(wait_for(queue.resume("far.test"))) == Errc::not_found);
  CHECK(error_of(wait_for(queue.suspend("", "why"))) == Errc::conflict);
  CHECK(error_of(wait_for(queue.suspend(std::string(256, 'x'), "why"))) == Errc::conflict);
  got(wait_for(queue.suspend("far.test", "root: they are down")));
  CHECK(got(queue.domain("far.test"))->suspended);
  const auto id = got(tests::deliver(*store, letter_to({"a@far.test", "b@far.test", "c@else.test"})));
  settle(queue, {{.name = {"far.test", id, 0}, .what = Stays{.attempt = failed_attempt(), .due = at(60)}}},
         {{.domain = "far.test", .next = at(900), .attempt = failed_attempt()},
          {.domain = "else.test", .next = at(900), .attempt = failed_attempt()}});
  auto domain = *got(queue.domain("far.test"));
  CHECK(domain.suspended);
  CHECK(domain.reason == "root: they are down");
  CHECK(got(queue.stat()).suspended == 1);
  got(wait_for(queue.resume("far.test")));
  CHECK_FALSE(got(queue.domain("far.test"))->suspended);
  const auto known = got(queue.status()).changes;
  got(wait_for(queue.flush("far.test")));
  domain = *got(queue.domain("far.test"));
  CHECK(domain.next_round == no_time);
  CHECK(domain.due_alone == 0);
  CHECK(domain.failed_rounds == 1);
  CHECK(got(queue.domain("else.test"))->next_round == at(900));
  CHECK(got(queue.domains({}, 10, known)).domains.size() == 1);
  settle(queue, {{.name = {"far.test", id, 0}, .what = Stays{.attempt = failed_attempt(), .due = at(60)}}});
  got(wait_for(queue.flush("")));
  CHECK(got(queue.domain("else.test"))->next_round == no_time);
  CHECK(got(queue.domain("far.test"))->due_alone == 0);

  const auto changes = got(queue.status()).changes;
  got(wait_for(queue.hold_all("root: the line is down")));
  CHECK(got(queue.status()).held);
  CHECK(got(queue.status()).reason == "root: the line is down");
  CHECK(got(queue.status()).changes > changes);
  got(wait_for(queue.release_all()));
  CHECK_FALSE(got(queue.status()).held);
  // One that is suspended and that nothing waits on goes when it is resumed.
  got(wait_for(queue.suspend("third.test", "why")));
  got(wait_for(queue.resume("third.test")));
  CHECK_FALSE(got(queue.domain("third.test")));
  CHECK(problems(*store).empty());
}

TEST_CASE("filters") {
  TestStore store(0);
  auto queue = store->queue();
  const auto first = got(tests::deliver(*store, letter_to({"Ann@far.test", "bob@far.test"})));
  auto other = letter_to({"ann@else.test"});
  other.from = "";
  const auto second = got(tests::deliver(*store, other));
  settle(queue,
         {{.name = {"far.test", first, 1}, .what = Stays{.attempt = failed_attempt("Mailbox BUSY"), .due = at(9)}}},
         {{.domain = "else.test", .next = at(9), .attempt = failed_attempt("No route to host")}});
  order(queue, {{"far.test", first, 0}}, HoldOrder{"why"});
  const Texts all{"ann@else.test", "Ann@far.test", "bob@far.test"};
  const auto middle = accepted_at(second);
  struct {
    QueueFilter filter;
    Texts want;
    const char* why;
  } const cases[] = {
      {{}, all, "nothing is asked"},
      {{.domain = "far.test"}, {"Ann@far.test", "bob@far.test"}, "a domain"},
      {{.domain = "far"}, {}, "a part of a domain is none"},
      {{.sender = "SENDER@far"}, {"Ann@far.test", "bob@far.test"}, "case does not count"},
      {{.sender = "<>"}, {"ann@else.test"}, "the null reverse-path"},
      {{.recipient = "ann"}, {"ann@else.test", "Ann@far.test"}, "a part of the recipient"},
      {{.error = "busy"}, {"bob@far.test"}, "its own answer"},
      {{.error = "no route"}, {"ann@else.test"}, "its domain's"},
      {{.state = QueueState::held}, {"Ann@far.test"}, "a state"},
      {{.state = QueueState::waiting}, {"ann@else.test", "bob@far.test"}, "a state"},
      {{.older = middle}, {"Ann@far.test", "bob@far.test"}, "accepted before"},
      {{.newer = accepted_at(first)}, {"ann@else.test"}, "accepted after"},
      {{.sender = "<>", .recipient = "bob"}, {}, "all must hold"},
  };
  for (const auto& one : cases) {
    CAPTURE(one.why);
    CHECK(addresses(listed(queue, one.filter)) == one.want);
  }
}

TEST_CASE("one scheduler a store, and it is told of what is queued" * doctest::skip(!tests::child_has_threads)) {
  TestStore store(0);
  auto queue = store->queue();
  std::vector<QueueName> told;
  std::mutex mutex;
  const auto wake = [&](std::vector<QueueName> names) {
    const std::lock_guard hold(mutex);
    told.insert(told.end(), names.begin(), names.end());
  };
  got(tests::deliver(*store, letter_to({"a@far.test"})));
  const auto before = got(queue.status()).changes;
  CHECK(before > 0);
  {
    const auto lock = got(queue.lock_scheduler(wake));
    CHECK(error_of(queue.lock_scheduler(wake)) == Errc::in_use);
    CHECK(tests::in_child([&] {
            auto other = Store::open(store.options());
            return other && error_of((*other)->queue().lock_scheduler(wake)) == Errc::in_use ? 0 : 1;
          }) == 0);
    const auto id = got(tests::deliver(*store, letter_to({"b@far.test", "c@else.test"})));
    const std::lock_guard hold(mutex);
    CHECK(told == std::vector<QueueName>{{"far.test", id, 0}, {"else.test", id, 1}});
    CHECK(got(queue.status()).changes == before);
    // Another process's mail is seen by looking.
    CHECK(tests::in_child([&] {
            auto other = Store::open(store.options());
            return other && tests::deliver(**other, letter_to({"d@third.test"})) ? 0 : 1;
          }) == 0);
    const auto page = got(queue.domains({}, 10, before));
    REQUIRE(page.domains.size() == 1);
    CHECK(page.domains[0].name == "third.test");
    CHECK(told.size() == 2);
  }
  CHECK(queue.lock_scheduler(wake).has_value());
}

TEST_CASE("many outcomes and many domains go in pieces") {
  TestStore store(0);
  auto queue = store->queue();
  std::vector<std::string> to;
  to.reserve(700);
  for (int i = 0; i < 700; ++i) to.push_back("u@d" + std::to_string(i % 350) + ".test");
  const auto id = got(tests::deliver(*store, letter_to(to)));
  std::vector<QueueName> names;
  for (const auto& one : got(queue.recipients(id))) names.push_back(one.name);
  REQUIRE(names.size() == 700);
  std::size_t seen = 0;
  std::string after;
  for (bool more = true; more;) {
    const auto page = got(queue.domains(after, 100));
    seen += page.domains.size();
    after = page.last;
    more = page.more;
  }
  CHECK(seen == 350);
  CHECK(order(queue, names, RetryOrder{}) == 700);
  got(wait_for(queue.flush("")));
  CHECK(got(queue.stat()).due_alone == 0);
  CHECK(got(queue.stat()).waiting == 700);
  CHECK(got(queue.stat()).oldest == accepted_at(id));
  CHECK(problems(*store).empty());
  std::vector<Settlement> outcomes;
  outcomes.reserve(names.size());
  for (const auto& name : names) outcomes.push_back(delivered(name));
  CHECK(settle(queue, std::move(outcomes)) == 700);
  CHECK(got(queue.stat()).domains == 0);
  CHECK(got(queue.stat()).done == 700);
  CHECK(got(wait_for(queue.trim_done(at(2)))) == 700);
  CHECK(got(store->stat()).messages == 0);
  CHECK(problems(*store).empty());
}

TEST_CASE("more recipients than a record names, or none that can be queued, are refused whole") {
  TestStore store(1);
  CHECK(error_of(tests::deliver(*store, letter_to({"a@far.test", "nobody"}, {store.boxes()[0]}))) == Errc::conflict);
  CHECK(got(tests::entries(*store, store.boxes()[0])).empty());
  CHECK(listed(store->queue()).empty());
}

TEST_CASE("a rebuild brings back who waits, and what people said, with the queue held") {
  TestStore store(1);
  auto queue = store->queue();
  const auto first =
      got(tests::deliver(*store, letter_to({"a@far.test", "b@far.test", "c@far.test"}, {store.boxes()[0]})));
  const auto second = got(tests::deliver(*store, letter_to({"d@else.test"})));
  settle(queue, {delivered({"far.test", first, 1})});
  order(queue, {{"far.test", first, 0}}, HoldOrder{"root: wait"});
  order(queue, {{"far.test", first, 2}}, RerouteOrder{"relay.test"});
  order(queue, {{"else.test", second, 0}}, DeleteOrder{});
  got(wait_for(queue.suspend("far.test", "root: down")));
  got(wait_for(queue.suspend("gone.test", "root: down")));
  got(wait_for(queue.resume("gone.test")));
  queue = Queue(nullptr);
  store.close();
  std::filesystem::remove_all(store.path() / "index");
  const auto report = got(Store::rebuild(store.options()));
  CHECK(report.queued == 2);
  got(store.open());
  queue = store->queue();
  CHECK(problems(*store).empty());
  const auto waiting = listed(queue);
  REQUIRE(addresses(waiting) == Texts{"a@far.test", "c@far.test"});
  CHECK(waiting[0].state == QueueState::held);
  CHECK(waiting[0].reason == "root: wait");
  CHECK(waiting[1].reroute == "relay.test");
  CHECK(got(queue.domain("far.test"))->suspended);
  CHECK(got(queue.domain("far.test"))->reason == "root: down");
  CHECK_FALSE(got(queue.domain("gone.test")));
  CHECK(got(queue.status()).held);
  CHECK_FALSE(got(queue.status()).reason.empty());
  CHECK(octets_of(queue, first) == letter_to({}).octets);
}

TEST_CASE(
    "a draft is written anew under its id, and its queue is held from the first moment, over a rebuild too (S97)") {
  for (const std::size_t size : {500U, 400'000U}) {
    CAPTURE(size);
    TestStore store;
    const auto octets = tests::make_message("rewritten", size);
    const auto id = got(wait_for(rewrite_and_hold(*store, octets, "a@one.test")));
    const auto check_row = [&] {
      const auto rows = got(store->queue().recipients(id));
      REQUIRE(rows.size() == 1);
      CHECK(rows[0].state == QueueState::held);
      CHECK(rows[0].reason == "a filter wants it");
      CHECK(rows[0].since == accepted_at(id));
      CHECK(got(store->queue().ready("one.test", at(1'000'000'000), {}, 10)).recipients.empty());
      CHECK(problems(*store).empty());
    };
    check_row();
    if (size < 4000) CHECK(octets_of(store->queue(), id) == "X-New: yes\r\n" + octets);
    store.close();
    std::filesystem::remove_all(store.path() / "index");
    got(Store::rebuild(store.options()));
    got(store.open());
    check_row();
    CHECK(order(store->queue(), {got(store->queue().recipients(id))[0].name}, ReleaseOrder{}) == 1);
    CHECK(got(store->queue().recipients(id))[0].state == QueueState::waiting);
  }
}

TEST_CASE("a rebuild of a store whose queue is empty holds nothing") {
  TestStore store(1);
  got(tests::deliver(*store, letter_to({}, {store.boxes()[0]})));
  store.close();
  CHECK(got(Store::rebuild(store.options())).queued == 0);
  got(store.open());
  CHECK_FALSE(got(store->queue().status()).held);
}

TEST_CASE("compaction moves what waits in the queue") {
  TestStore store(1, [](Options& options) { options.segment_size = 4096; });
  std::vector<MessageId> removed;
  removed.reserve(21);
  for (int i = 0; i < 20; ++i) removed.push_back(got(tests::deliver(*store, letter_to({}, {store.boxes()[0]}))));
  const auto id = got(tests::deliver(*store, letter_to({"a@far.test"})));
  removed.push_back(got(tests::deliver(*store, letter_to({}, {store.boxes()[0]}))));
  store.reopen();
  got(tests::remove(*store, store.boxes()[0], removed));
  CHECK(got(store->compact({.all = true, .at_once = true, .stop = {}})).moved == 1);
  CHECK(octets_of(store->queue(), id) == letter_to({}).octets);
  CHECK(problems(*store).empty());
}

TEST_CASE("a store from before the queue gets the tables that came later when it is opened") {
  TestStore store(1);
  got(tests::deliver(*store, letter_to({}, {store.boxes()[0]})));
  store.close();
  // In a process of its own: one environment a process.
  CHECK(tests::in_child([&] {
          lmdb::Env env;
          env.open((store.path() / "index").string(), store.options().map_size, 16, 1022, MDB_NOTLS);
          lmdb::Txn txn(env.get(), 0);
          for (const auto* name : {"queue", "queue_ids", "queue_due", "queue_domains", "done", "taken"}) {
            MDB_dbi table = 0;
            lmdb::expect(mdb_dbi_open(txn.get(), name, 0, &table), name);
            lmdb::expect(mdb_drop(txn.get(), table, 1), name);
          }
          txn.commit();
          return 0;
        }) == 0);
  got(store.open());
  CHECK(got(tests::entries(*store, store.boxes()[0])).size() == 1);
  got(tests::deliver(*store, letter_to({"a@far.test"})));
  CHECK(listed(store->queue()).size() == 1);
  store.reopen();
  CHECK(listed(store->queue()).size() == 1);
  CHECK(problems(*store).empty());
}

TEST_CASE("check finds what does not agree in the queue, and repair sets it right") {
  TestStore store(0);
  got(tests::deliver(*store, letter_to({"a@far.test", "b@else.test"})));
  const auto id = got(tests::deliver(*store, letter_to({"c@far.test"})));
  settle(store->queue(), {{.name = {"far.test", id, 0}, .what = Stays{.attempt = failed_attempt(), .due = at(9)}}});
  CHECK(problems(*store).empty());
  const QueueName name{"far.test", id, 0};
  struct Damage {
    const char* why;
    const char* table;
    std::string key;
    const char* told;
    std::size_t left;
  };
  const std::vector<Damage> cases = {
      {"the way by id is gone", "queue_ids", std::string(std::string_view(QueueIdKey(id, 0))), "by its id", 3},
      {"the way by due time is gone", "queue_due", queue_due_key("else.test", {.due = at(8), .id = {}, .ordinal = 0}),
       "due times lead", 3},
      {"a domain's row is gone", "queue_domains", "far.test", "has no row", 3},
      {"a row is gone", "queue", queue_key(name), "leads to no recipient", 2},
  };
  for (const auto& one : cases) {
    CAPTURE(one.why);
    store.close();
    CHECK(tests::in_child([&] {
            lmdb::Env env;
            env.open((store.path() / "index").string(), store.options().map_size, 16, 1022, MDB_NOTLS);
            lmdb::Txn txn(env.get(), 0);
            MDB_dbi table = 0;
            lmdb::expect(mdb_dbi_open(txn.get(), one.table, 0, &table), one.table);
            // The case of due times has one too many, the others one too few.
            if (!lmdb::erase(txn.get(), table, one.key)) lmdb::put(txn.get(), table, one.key, {});
            txn.commit();
            return 0;
          }) == 0);
    got(store.open());
    CHECK(problems(*store).find(one.told) != std::string::npos);
    store.close();
    store.options().alone = true;
    got(store.open());
    CHECK_FALSE(got(store->repair()).problems.empty());
    CHECK(problems(*store).empty());
    store.options().alone = false;
    store.reopen();
    CHECK(listed(store->queue()).size() == one.left);
  }
}

TEST_CASE("S10: a hundred thousand are listed a page at a time, wherever it begins") {
  TestStore store(0);
  std::vector<std::string> to;
  for (int i = 0; i < 1000; ++i) to.push_back("r" + std::to_string(i) + "@d" + std::to_string(i % 40) + ".test");
  std::vector<MessageId> ids;
  for (int i = 0; i < 100; ++i) ids.push_back(got(tests::deliver(*store, letter_to(to))));
  auto queue = store->queue();
  constexpr std::size_t page_size = 100;
  std::optional<QueuePlace> after;
  std::size_t pages = 0;
  std::size_t rows = 0;
  std::optional<QueueName> last;
  for (bool more = true; more; ++pages) {
    const auto page = got(queue.list({}, after, page_size));
    CHECK(page.recipients.size() <= page_size);
    for (const auto& each : page.recipients) {
      const bool in_order = !last || *last < each.name;
      if (!in_order) FAIL_CHECK("out of order: " << each.address);
      last = each.name;
    }
    rows += page.recipients.size();
    after = page.last;
    more = page.more;
  }
  CHECK(rows == 100'000);
  CHECK(pages <= rows / page_size + 1);
  // What was said of one place holds for the next page, whoever left meanwhile.
  const auto half = got(queue.list({}, QueuePlace{"d20.test", ids[50], 0}, page_size));
  CHECK(half.recipients.size() == page_size);
  CHECK(half.recipients.front().name.domain == "d20.test");
  CHECK(half.recipients.front().name.id == ids[50]);
}
