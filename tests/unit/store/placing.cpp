#include <doctest/doctest.h>

#include <chrono>
#include <string>
#include <vector>

#include "expect.hpp"
#include "mailstore/queue.hpp"
#include "tests/support/store_harness.hpp"
#include "tests/support/wait_for.hpp"

using namespace mailstore;
using tests::error_of;
using tests::got;
using tests::TestStore;
using tests::wait_for;

namespace {

std::vector<Settlement> placing(const std::vector<QueuedRecipient>& rows, const std::string& file) {
  std::vector<Settlement> all;
  for (const auto& row : rows) all.push_back({row.name, Placing{file}});
  return all;
}

MessageId queue_letter(TestStore& store, std::size_t recipients) {
  tests::Letter letter{.to = {}, .octets = tests::make_message("placed", 500)};
  for (std::size_t i = 0; i < recipients; ++i)
    letter.remotes.push_back(
        {.address = "r" + std::to_string(i) + "@programs.test", .original_recipient = {}, .notify = 0});
  return got(tests::deliver(*store, letter));
}

}  // namespace

TEST_CASE("a recipient that is being placed stays so until it leaves, whatever people say") {
  TestStore store(1);
  const auto id = queue_letter(store, 2);
  auto queue = store->queue();
  const std::string file = "/srv/mx/drop/" + format_id(id) + ".eml";
  CHECK(got(wait_for(queue.settle(placing(got(queue.recipients(id)), file)))).settled == 2);
  CHECK(got(wait_for(queue.settle(placing(got(queue.recipients(id)), file)))).settled == 0);
  const auto rows = got(queue.recipients(id));
  got(wait_for(queue.order({rows[0].name}, HoldOrder{"root"})));
  got(wait_for(queue.settle({{rows[1].name, Stays{}}})));
  for (const auto& row : got(queue.recipients(id))) CHECK(row.placing == file);
}

TEST_CASE("a restart and a rebuild know what is being placed") {
  TestStore store(1);
  const auto id = queue_letter(store, 2);
  const std::string file = "/srv/mx/drop/" + format_id(id) + ".eml";
  CHECK(got(wait_for(store->queue().settle(placing(got(store->queue().recipients(id)), file)))).settled == 2);
  const auto all_placed = [&] {
    const auto rows = got(store->queue().recipients(id));
    return rows.size() == 2 && rows[0].placing == file && rows[1].placing == file;
  };
  store.reopen();
  CHECK(all_placed());
  CHECK(tests::problems(*store) == "");
  store.close();
  got(Store::rebuild(store.options()));
  got(store.open());
  CHECK(all_placed());
}

TEST_CASE("recipients that share a file are placed in one transaction, however many") {
  TestStore store(1);
  const auto id = queue_letter(store, 500);
  auto queue = store->queue();
  const auto before = store->counters().commits;
  CHECK(got(wait_for(queue.settle(placing(got(queue.recipients(id)), "/drop/x.eml")))).settled == 500);
  CHECK(store->counters().commits == before + 1);
}

TEST_CASE("a file's name that a row cannot keep whole is refused") {
  TestStore store(1);
  const auto id = queue_letter(store, 1);
  auto queue = store->queue();
  CHECK(error_of(wait_for(queue.settle(placing(got(queue.recipients(id)), std::string(placing_limit + 1, 'x'))))) ==
        Errc::conflict);
  const std::string longest(placing_limit, 'x');
  got(wait_for(queue.settle(placing(got(queue.recipients(id)), longest))));
  CHECK(got(queue.recipients(id)).front().placing == longest);
}

TEST_CASE("what was to be deleted for its reason stays when somebody has another wish for it by then") {
  TestStore store(1);
  const auto id = queue_letter(store, 4);
  auto queue = store->queue();
  std::vector<QueueName> names;
  for (const auto& row : got(queue.recipients(id))) names.push_back(row.name);
  got(wait_for(queue.order({names[0], names[1]}, HoldOrder{"badmail: ndr-of-dsn: x"})));
  got(wait_for(queue.order({names[2]}, HoldOrder{"by a person"})));
  got(wait_for(queue.order({names[1]}, ReviveOrder{})));
  CHECK(got(wait_for(queue.order(names, DeleteOrder{"badmail: "}))) == 1);
  CHECK(got(queue.recipients(id)).size() == 3);
  CHECK(got(wait_for(queue.order(names, DeleteOrder{}))) == 3);
}

TEST_CASE("what is revived waits again and is due at once") {
  TestStore store(1);
  const auto id = queue_letter(store, 1);
  auto queue = store->queue();
  const auto name = got(queue.recipients(id)).front().name;
  CHECK(got(wait_for(queue.order({name}, ReviveOrder{}))) == 0);
  got(wait_for(queue.order({name}, HoldOrder{"badmail: ndr-of-dsn: x"})));
  CHECK(got(wait_for(queue.order({name}, ReviveOrder{}))) == 1);
  const auto row = got(queue.recipients(id)).front();
  CHECK(row.state == QueueState::waiting);
  CHECK(row.due == retry_time);
  CHECK(row.reason.empty());
  CHECK(got(queue.due(name.domain, std::chrono::sys_time<std::chrono::microseconds>{std::chrono::seconds{1}}, {}, 10))
            .recipients.size() == 1);
  CHECK(tests::problems(*store) == "");
}
