#include "mailstore/queue.hpp"

#include "expect.hpp"
#include "queue_words.hpp"
#include "tests/support/store_harness.hpp"
#include "tests/support/wait_for.hpp"

using namespace mailstore;
using namespace tests::queue;
using tests::error_of;
using tests::got;
using tests::problems;
using tests::TestStore;
using tests::wait_for;

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
  // One that was asked for before its time leaves its answer, and nothing else.
  settle(queue, {}, {{.domain = "far.test", .next = at(9000), .attempt = failed_attempt("asked"), .ahead = true}});
  domain = *got(queue.domain("far.test"));
  CHECK(domain.failed_rounds == 2);
  CHECK(domain.next_round == at(1800));
  CHECK(domain.last.answer.text == "asked");
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
