// Says what came of recipients in the queue, as smtpd's scheduler would: settle_queue STORE ID ORDINAL OUTCOME, with
// OUTCOME one of delivered, failed, deferred (own due time, an hour ahead), round (its domain could not be reached, an
// hour ahead). For tests of the tool that need no daemon.

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <string>

#include "mailstore/queue.hpp"
#include "tools/pennypost/await.hpp"

int main(int argc, char** argv) {
  using namespace mailstore;
  if (argc != 5) return 2;
  Options options;
  options.path = argv[1];
  options.map_size = std::uint64_t{1} << 30U;
  options.reserve = 0;
  const auto store = Store::open(options);
  const auto id = parse_id(argv[2]);
  if (!store || !id) return 1;
  auto queue = (*store)->queue();
  const auto ordinal = static_cast<std::size_t>(std::atoi(argv[3]));
  const std::string outcome = argv[4];
  const auto all = queue.recipients(*id);
  if (!all || ordinal >= all->size()) return 1;
  const auto name = (*all)[ordinal].name;
  const auto now = std::chrono::time_point_cast<std::chrono::microseconds>(std::chrono::system_clock::now());
  const auto later = now + std::chrono::hours(1);
  Attempt attempt{.at = now, .answer = {}, .peer = "mx.far.test[192.0.2.1]:25", .tls = "TLSv1.3 verified"};
  std::vector<Settlement> outcomes;
  std::vector<Round> rounds;
  if (outcome == "delivered") {
    attempt.answer = {.code = 250, .enhanced = "2.0.0", .text = "taken"};
    outcomes.push_back({.name = name, .what = Leaves{.outcome = QueueOutcome::delivered, .attempt = attempt}});
  } else if (outcome == "failed") {
    attempt.answer = {.code = 550, .enhanced = "5.1.1", .text = "nobody \x1b[31m here"};
    outcomes.push_back({.name = name, .what = Leaves{.outcome = QueueOutcome::failed, .attempt = attempt}});
  } else if (outcome == "deferred") {
    attempt.answer = {.code = 451, .enhanced = "4.7.1", .text = "greylisted"};
    outcomes.push_back({.name = name, .what = Stays{.attempt = attempt, .due = later}});
  } else {
    attempt.answer = {.code = 0, .enhanced = "4.4.1", .text = "connection refused"};
    attempt.tls.clear();
    rounds.push_back({.domain = name.domain, .next = later, .attempt = attempt});
  }
  const auto settled = tools::run_awaitable(queue.settle(std::move(outcomes), std::move(rounds)));
  if (!settled) std::cerr << settled.error().detail << '\n';
  return settled ? 0 : 1;
}
