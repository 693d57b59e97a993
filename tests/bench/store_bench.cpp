// What the store alone can do: concurrent callers that hand in messages, on an empty and on a filled store. Figures for
// tests/bench/README.md; compare them with the `group_commit_serial_*` figures of a disk measured in the same minute.
//
//   store_bench FOLDER [--callers N] [--seconds T] [--size OCTETS] [--mailboxes M] [--fill MESSAGES] [--remove
//   MESSAGES]
//
// At the end the first mailbox is looked at, walked, searched, and loses as many messages as --remove says (none); with
// --mailboxes 1 --fill 1000000 that is a full one.
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "mailstore/store.hpp"

namespace {

using Steady = std::chrono::steady_clock;
double seconds(Steady::duration d) {
  return std::chrono::duration<double>(d).count();
}

double cpu() {
  rusage use{};
  getrusage(RUSAGE_SELF, &use);
  return static_cast<double>(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
         static_cast<double>(use.ru_utime.tv_usec + use.ru_stime.tv_usec) * 1e-6;
}

template <class T>
T must(mailstore::Result<T> result, const char* what) {
  if (!result) {
    std::fprintf(stderr, "%s: %s\n", what, result.error().detail.c_str());
    std::exit(1);
  }
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

struct Run {
  mailstore::Store& store;
  std::vector<mailstore::MailboxNumber>& boxes;
  std::string body;
  Steady::time_point end{};
  std::uint64_t wanted = 0;  // 0: until `end`
  std::uint64_t started = 0, done = 0;
  std::vector<double> took;
};

asio::awaitable<void> caller(Run& run) {
  while (run.wanted != 0 ? run.started < run.wanted : Steady::now() < run.end) {
    const auto number = run.started++;
    auto beginning = run.store.begin();
    auto draft = must(co_await std::move(beginning), "begin");
    draft.append(run.body);
    mailstore::Envelope envelope{.reverse_path = "sender@bench.test", .server = "bench", .owners = {}};
    const auto box = (number * 7919) % run.boxes.size();
    envelope.owners.push_back({.mailbox = run.boxes[box], .delivered_to = "u" + std::to_string(box) + "@example.test"});
    const mailstore::BodyFacts facts{.octets = run.body.size(), .header_octets = 100};
    const auto from = Steady::now();
    auto accepting = run.store.accept(std::move(draft), std::move(envelope), facts);
    must(co_await std::move(accepting), "accept");
    run.took.push_back(seconds(Steady::now() - from));
    ++run.done;
  }
}

asio::awaitable<void> add_boxes(mailstore::Store& store, std::vector<mailstore::MailboxNumber>& boxes,
                                std::size_t first, std::size_t step) {
  for (auto i = first; i < boxes.size(); i += step) {
    auto adding =
        store.add_mailbox({.address = "u" + std::to_string(i) + "@example.test", .display = {}, .credential = {}});
    boxes[i] = must(co_await std::move(adding), "add_mailbox");
  }
}

asio::awaitable<void> add_domain(mailstore::Store& store) {
  auto adding = store.add_domain({.name = "example.test"});
  must(co_await std::move(adding), "add_domain");
}

void measure(const char* name, Run run, std::size_t callers) {
  asio::io_context io(1);
  const auto before = run.store.counters();
  const auto from = Steady::now();
  const auto cpu_from = cpu();
  for (std::size_t i = 0; i < callers; ++i) asio::co_spawn(io, caller(run), asio::detached);
  io.run();
  const auto took = seconds(Steady::now() - from);
  const auto after = run.store.counters();
  std::ranges::sort(run.took);
  const auto at = [&](double q) {
    return run.took[static_cast<std::size_t>(q * static_cast<double>(run.took.size() - 1))] * 1e3;
  };
  std::printf(
      "%s: %zu callers, %.0f messages/s, p50 %.3f ms, p99 %.3f ms, %.1f us CPU a message, %.1f messages a commit\n",
      name, callers, static_cast<double>(run.done) / took, at(0.5), at(0.99),
      (cpu() - cpu_from) / static_cast<double>(run.done) * 1e6,
      static_cast<double>(after.accepted - before.accepted) / static_cast<double>(after.commits - before.commits));
  std::fflush(stdout);
}

/// Octets of this process that are its own, not pages of files.
std::uint64_t own_memory() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    std::uint64_t kilobytes = 0;
    if (word == "RssAnon:" && status >> kilobytes) return kilobytes << 10U;
  }
  return 0;
}

void read_mailbox(mailstore::Store& store, mailstore::MailboxNumber box, std::size_t doomed) {
  constexpr int looks = 10'000;
  auto from = Steady::now();
  mailstore::View view;
  for (int i = 0; i < looks; ++i) view = must(store.peek(box), "peek");
  const auto look = seconds(Steady::now() - from) / looks;

  const auto memory = own_memory();
  std::array<mailstore::Entry, 256> page;
  std::vector<mailstore::MessageId> some;  // every hundredth
  std::uint64_t entries = 0;
  auto slowest = Steady::duration::zero();
  from = Steady::now();
  for (std::optional<mailstore::MessageId> after;;) {
    const auto page_from = Steady::now();
    const auto found = must(store.list(view, after, page), "list");
    slowest = std::max(slowest, Steady::now() - page_from);
    for (std::size_t i = 0; i < found; ++i) {
      if (entries++ % 100 == 0) some.push_back(page[i].id);
    }
    if (found < page.size()) break;
    after = page.back().id;
  }
  const auto walk = seconds(Steady::now() - from);
  const auto grown = own_memory() - memory;

  from = Steady::now();
  for (const auto id : some) must(store.find(view, id), "find");
  const auto find = seconds(Steady::now() - from) / static_cast<double>(std::max<std::size_t>(some.size(), 1));
  std::printf(
      "mailbox of %llu: view %.2f us, walk %.1f ns an entry (slowest page of 256: %.0f us, %llu KiB more memory), find "
      "%.2f us\n",
      static_cast<unsigned long long>(view.messages), look * 1e6,
      walk / static_cast<double>(std::max<std::uint64_t>(entries, 1)) * 1e9, seconds(slowest) * 1e6,
      static_cast<unsigned long long>(grown >> 10U), find * 1e6);
  if (doomed == 0) return;

  std::vector<mailstore::MessageId> ids;
  std::optional<mailstore::MessageId> after;
  while (ids.size() < doomed) {
    const auto found = must(store.list(view, after, page), "list");
    for (std::size_t i = 0; i < found && ids.size() < doomed; ++i) ids.push_back(page[i].id);
    if (found < page.size()) break;
    after = page.back().id;
  }
  auto removing = [](mailstore::Store& in, mailstore::MailboxNumber of,
                     std::vector<mailstore::MessageId> which) -> asio::awaitable<void> {
    const auto lock = must(in.lock_maildrop(of), "lock");
    auto work = in.remove(lock, std::move(which));
    must(co_await std::move(work), "remove");
  };
  const auto many = ids.size();
  const auto cpu_from = cpu();
  const auto commits = store.counters().commits;
  from = Steady::now();
  asio::io_context io(1);
  asio::co_spawn(io, removing(store, box, std::move(ids)), asio::detached);
  io.run();
  const auto took = seconds(Steady::now() - from);
  std::printf("removed %zu in %.2f s and %llu commits, %.1f us CPU each\n", many, took,
              static_cast<unsigned long long>(store.counters().commits - commits),
              (cpu() - cpu_from) / static_cast<double>(many) * 1e6);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2)
    return std::fprintf(stderr,
                        "store_bench FOLDER [--callers N] [--seconds T] [--size OCTETS] [--mailboxes M] [--fill N] "
                        "[--remove N]\n"),
           2;
  std::map<std::string, double> option{{"--callers", 64},    {"--seconds", 3}, {"--size", 4096},
                                       {"--mailboxes", 200}, {"--fill", 0},    {"--remove", 0}};
  for (int i = 2; i + 1 < argc; i += 2) option[argv[i]] = std::atof(argv[i + 1]);
  mailstore::Options options{.path = argv[1]};
  options.warn = [](std::string_view what) {
    std::fprintf(stderr, "warning: %.*s\n", static_cast<int>(what.size()), what.data());
  };
  const auto made = mailstore::Store::init(options);
  auto store = must(mailstore::Store::open(options), "open");
  std::vector<mailstore::MailboxNumber> boxes(static_cast<std::size_t>(option["--mailboxes"]));
  asio::io_context io(1);
  if (made) {
    asio::co_spawn(io, add_domain(*store), asio::detached);
    io.run();
    io.restart();
    for (std::size_t i = 0; i < 512; ++i) asio::co_spawn(io, add_boxes(*store, boxes, i, 512), asio::detached);
    io.run();
  } else {
    const auto look = store->directory();
    for (std::size_t i = 0; i < boxes.size(); ++i) {
      boxes[i] = must(look->mailbox("u" + std::to_string(i) + "@example.test"), "mailbox").value().number;
    }
  }
  std::string body = "Received: from bench.test ([127.0.0.1])\r\nSubject: bench\r\n\r\n";
  while (body.size() + 78 < static_cast<std::size_t>(option["--size"])) body += std::string(76, 'x') + "\r\n";
  const auto callers = static_cast<std::size_t>(option["--callers"]);
  if (option["--fill"] > 0) {
    Run fill{.store = *store,
             .boxes = boxes,
             .body = std::string(body, 0, 1024),
             .wanted = static_cast<std::uint64_t>(option["--fill"]),
             .took = {}};
    measure("fill", std::move(fill), 512);
  }
  for (const auto n : {callers, std::size_t{1}}) {
    Run run{.store = *store, .boxes = boxes, .body = body, .took = {}};
    run.end = Steady::now() + std::chrono::milliseconds(static_cast<int>(option["--seconds"] * 1e3));
    measure("accept", std::move(run), n);
  }
  read_mailbox(*store, boxes.front(), static_cast<std::size_t>(option["--remove"]));
  return 0;
}
