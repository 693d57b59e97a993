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
