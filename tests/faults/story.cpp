#include "tests/faults/story.hpp"

#include <array>
#include <charconv>
#include <chrono>
#include <random>
#include <sstream>
#include <thread>
#include <utility>

#include "common/base32.hpp"
#include "mailstore/queue.hpp"
#include "tests/support/store_harness.hpp"
#include "tests/support/wait_for.hpp"

namespace faults {
namespace {

using mailstore::MailboxNumber;

std::string mailbox_address(std::size_t place) {
  return "u" + std::to_string(place) + "@example.test";
}

/// The place of a letter, from its subject; nullopt: not one of ours.
std::optional<std::size_t> letter_of(std::string_view octets) {
  constexpr std::string_view mark = "Subject: letter ";
  const auto at = octets.find(mark);
  if (at == std::string_view::npos) return std::nullopt;
  const char* from = octets.data() + at + mark.size();
  std::size_t place = 0;
  const auto [end, error] = std::from_chars(from, octets.data() + octets.size(), place);
  if (error != std::errc{}) return std::nullopt;
  return place;
}

std::optional<mailstore::Mailbox> mailbox_at(mailstore::Store& store, const std::string& address) {
  const auto found = store.directory()->mailbox(address);
  return found ? *found : std::nullopt;
}

std::optional<MailboxNumber> number_of(mailstore::Store& store, std::size_t place) {
  const auto mailbox = mailbox_at(store, mailbox_address(place));
  if (!mailbox) return std::nullopt;
  return mailbox->number;
}

constexpr const char* reports_address = "reports@example.test";

struct Waiting {
  mailstore::QueueName name;
  std::optional<std::size_t> letter;
};

/// Everything in the queue, with the letter that it is of.
std::vector<Waiting> waiting_in(mailstore::Store& store) {
  std::vector<Waiting> all;
  auto queue = store.queue();
  std::optional<mailstore::QueuePlace> after;
  for (bool more = true; more;) {
    const auto page = queue.list({}, after, 100);
    if (!page) throw std::runtime_error(page.error().detail);
    for (const auto& one : page->recipients) {
      std::vector<char> scratch(4096);
      const auto message = queue.open_message(one.name.id, scratch, scratch.size());
      all.push_back({one.name, message ? letter_of(message->prefix) : std::nullopt});
    }
    after = page->last;
    more = page->more;
  }
  return all;
}

std::string report_on(std::size_t letter, std::size_t ordinal) {
  return "Subject: report " + std::to_string(letter) + " " + std::to_string(ordinal) + "\r\n\r\n";
}

asio::awaitable<mailstore::Result<mailstore::SettleResult>> send_report(mailstore::Store& store, MailboxNumber box,
                                                                        mailstore::QueueName name, std::string octets) {
  auto beginning = store.begin();
  auto draft = co_await std::move(beginning);
  if (!draft) co_return std::unexpected(draft.error());
  draft->append(octets);
  mailstore::Envelope envelope;
  envelope.owners.push_back(
      {.mailbox = box, .delivered_to = tests::address_of(box), .original_recipient = {}, .unique_id = {}});
  mailstore::Successor report{
      .draft = std::move(*draft), .envelope = std::move(envelope), .facts = tests::facts_of(octets)};
  std::vector<mailstore::Settlement> outcomes{
      {.name = std::move(name), .what = mailstore::Leaves{.outcome = mailstore::QueueOutcome::failed, .attempt = {}}}};
  auto settling = store.queue().settle(std::move(outcomes), std::move(report));
  co_return co_await std::move(settling);
}

tests::Letter addressed(mailstore::Store& store, const Story& story, std::size_t place) {
  tests::Letter letter{.to = {}, .octets = story.octets(place)};
  for (const auto box : story.letters[place].to) {
    if (const auto number = number_of(store, box)) letter.to.push_back(*number);
  }
  for (std::size_t i = 0; i < story.letters[place].remotes; ++i) {
    letter.remotes.push_back({.address = "r@far" + std::to_string(i) + ".test", .original_recipient = {}, .notify = 0});
  }
  return letter;
}

void note(DiskLog& log, const char* what, std::size_t first, std::uint64_t second = 0) {
  log.note(std::string(what) + " " + std::to_string(first) + " " + std::to_string(second));
}

}  // namespace

Story::Story(std::uint64_t from, std::size_t many) : seed(from) {
  std::mt19937_64 random(seed);
  const auto below = [&](std::uint64_t limit) { return random() % limit; };
  const auto letter = [&] {
    Letter one;
    std::set<std::size_t> to;
    for (auto count = 1 + below(3); count > 0; --count) to.insert(below(mailboxes));
    if (below(8) == 0) {
      for (std::size_t box = 0; box < mailboxes; ++box) to.insert(box);
    }
    one.to.assign(to.begin(), to.end());
    // Short ones, and some that stream to a segment of their own.
    one.size = below(6) == 0 ? 20'000 + below(40'000) : 40 + below(6000);
    if (below(2) == 0) one.remotes = 1 + below(3);
    letters.push_back(std::move(one));
    return letters.size() - 1;
  };
  std::set<std::size_t> gone;
  while (steps.size() < many) {
    Step step;
    const auto kind = below(25);
    if (kind < 6) {
      step.kind = Step::Kind::deliver;
      step.letters = {letter()};
    } else if (kind < 10) {
      step.kind = Step::Kind::together;
      for (auto count = 2 + below(10); count > 0; --count) step.letters.push_back(letter());
    } else if (kind < 15) {
      step.kind = Step::Kind::remove;
      step.mailbox = below(mailboxes);
      step.pick = random();
    } else if (kind == 15) {
      step.kind = Step::Kind::add;
      step.mailbox = mailboxes++;
    } else if (kind == 16 && mailboxes - gone.size() > 2) {
      step.kind = Step::Kind::purge;
      step.mailbox = below(mailboxes);
      if (!gone.insert(step.mailbox).second) continue;
    } else if (kind == 17) {
      step.kind = Step::Kind::change_quota;
      step.mailbox = below(mailboxes);
    } else if (kind == 18) {
      step.kind = Step::Kind::reopen;
    } else if (kind < 22) {
      step.kind = Step::Kind::compact;
    } else {
      step.kind = kind == 22 ? Step::Kind::settle : Step::Kind::report;
      step.pick = random();
    }
    steps.push_back(std::move(step));
  }
}

std::string Story::octets(std::size_t letter) const {
  return tests::make_message("letter " + std::to_string(letter), letters[letter].size, letter + 1);
}

mailstore::Options story_options(const std::filesystem::path& store) {
  auto options = tests::small_options(store);
  options.map_size = std::uint64_t{64} << 20U;
  options.stream_threshold = 16 << 10U;
  options.segment_size = 64 << 10U;
  return options;
}

void begin_story(const std::filesystem::path& store, const Story& /*story*/) {
  const auto options = story_options(store);
  if (const auto made = mailstore::Store::init(options); !made) throw std::runtime_error(made.error().detail);
  const auto opened = mailstore::Store::open(options);
  if (!opened) throw std::runtime_error(opened.error().detail);
  if (const auto added = tests::add_domain(**opened, {.name = "example.test"}); !added)
    throw std::runtime_error(added.error().detail);
  if (const auto added = tests::add_mailbox(**opened, reports_address); !added)
    throw std::runtime_error(added.error().detail);
  for (std::size_t place = 0; place < 4; ++place) {
    const auto added = tests::add_mailbox(**opened, mailbox_address(place));
    if (!added) throw std::runtime_error(added.error().detail);
  }
}

namespace {

bool play_through(const std::filesystem::path& path, const Story& story, DiskLog& log) {
  std::shared_ptr<mailstore::Store> store;
  const auto open = [&] {
    store.reset();
    // A call that fails while the store is opened is answered with a refusal; whoever starts it tries again.
    for (int attempt = 0; attempt < 2 && !store; ++attempt) {
      auto opened = mailstore::Store::open(story_options(path));
      if (opened) store = std::move(*opened);
    }
    return store != nullptr;
  };
  if (!open()) return false;
  for (const auto& step : story.steps) {
    switch (step.kind) {
      case Step::Kind::deliver:
      case Step::Kind::together: {
        std::vector<tests::Letter> letters;
        std::vector<std::size_t> places;
        for (const auto place : step.letters) {
          auto letter = addressed(*store, story, place);
          if (letter.to.empty() && letter.remotes.empty()) continue;
          letters.push_back(std::move(letter));
          places.push_back(place);
          note(log, "letter", place);
        }
        tests::deliver_together(*store, letters, [&](std::size_t which, const auto& result) {
          if (result)
            note(log, "accepted", places[which], result->value);
          else
            note(log, "refused", places[which]);
        });
        break;
      }
      case Step::Kind::remove: {
        const auto number = number_of(*store, step.mailbox);
        if (!number) break;
        const auto all = tests::entries(*store, *number);
        if (!all) break;
        std::vector<mailstore::MessageId> ids;
        std::vector<std::size_t> places;
        for (std::size_t i = 0; i < all->size(); ++i) {
          if (((step.pick >> (i % 64)) & 1U) == 0) continue;
          const auto octets = tests::read_message(*store, *number, (*all)[i]);
          const auto place = octets ? letter_of(*octets) : std::nullopt;
          if (!place) continue;
          ids.push_back((*all)[i].id);
          places.push_back(*place);
        }
        for (const auto place : places) note(log, "removing", step.mailbox, place);
        const auto removed = tests::remove(*store, *number, ids);
        for (const auto place : places) note(log, removed ? "removed" : "kept", step.mailbox, place);
        break;
      }
      case Step::Kind::purge: {
        note(log, "purging", step.mailbox);
        const auto purged = tests::remove_mailbox(*store, mailbox_address(step.mailbox), true);
        if (purged) note(log, "purged", step.mailbox);
        break;
      }
      case Step::Kind::add: {
        note(log, "adding", step.mailbox);
        if (const auto added = tests::add_mailbox(*store, mailbox_address(step.mailbox)))
          note(log, "added", step.mailbox, std::to_underlying(*added));
        break;
      }
      case Step::Kind::change_quota: {
        note(log, "changing", step.mailbox, step.pick % 1000 + 1);
        mailstore::MailboxChange change;
        change.quota_messages = step.pick % 1000 + 1;
        if (tests::change_mailbox(*store, mailbox_address(step.mailbox), change))
          note(log, "changed", step.mailbox, step.pick % 1000 + 1);
        break;
      }
      case Step::Kind::settle: {
        std::vector<mailstore::Settlement> outcomes;
        std::vector<std::pair<std::size_t, std::size_t>> which;
        const auto waiting = waiting_in(*store);
        for (std::size_t i = 0; i < waiting.size(); ++i) {
          if (((step.pick >> (i % 64)) & 1U) == 0 || !waiting[i].letter) continue;
          outcomes.push_back({.name = waiting[i].name, .what = mailstore::Leaves{.attempt = {}}});
          which.emplace_back(*waiting[i].letter, waiting[i].name.ordinal);
        }
        for (const auto& [letter, ordinal] : which) note(log, "settling", letter, ordinal);
        const auto settled = tests::wait_for(store->queue().settle(std::move(outcomes)));
        for (const auto& [letter, ordinal] : which) {
          if (settled) note(log, "settled", letter, ordinal);
        }
        break;
      }
      case Step::Kind::report: {
        const auto waiting = waiting_in(*store);
        const auto box = mailbox_at(*store, reports_address);
        if (waiting.empty() || !box) break;
        const auto& one = waiting[step.pick % waiting.size()];
        if (!one.letter) break;
        note(log, "reporting", *one.letter, one.name.ordinal);
        const auto reported =
            tests::wait_for(send_report(*store, box->number, one.name, report_on(*one.letter, one.name.ordinal)));
        if (reported) note(log, "reported", *one.letter, one.name.ordinal);
        break;
      }
      case Step::Kind::compact:
        (void)store->compact({.all = step.pick % 2 == 0, .at_once = true, .stop = {}});
        break;
      case Step::Kind::reopen:
        if (!open()) return false;
        break;
    }
  }
  // Whatever failed before, the next letter is taken; or the one after it, where the call that fails is of these.
  bool goes_on = false;
  for (int attempt = 0; attempt < 3 && !goes_on; ++attempt) {
    const auto last = tests::add_mailbox(*store, "last" + std::to_string(attempt) + "@example.test");
    goes_on = last && tests::deliver(*store, {.to = {*last}, .octets = "Subject: the end\r\n\r\n"});
  }
  store.reset();
  return goes_on;
}

}  // namespace

bool play(const std::filesystem::path& path, const Story& story, DiskLog& log) {
  try {
    return play_through(path, story, log);
  } catch (const std::exception&) {
    // A read that met the index broken: the commit thread is about to end this process.
    std::this_thread::sleep_for(std::chrono::seconds(5));
    return false;
  }
}

void Ledger::apply(std::string_view note) {
  std::istringstream words{std::string(note)};
  std::string what;
  std::size_t first = 0;
  std::uint64_t second = 0;
  words >> what >> first >> second;
  if (what == "letter") letters_[first] = State::asked;
  if (what == "accepted") letters_[first] = State::done, ids_[first] = second;
  if (what == "refused") letters_[first] = State::refused;
  if (what == "removing") removals_[{first, second}] = State::asked;
  if (what == "removed") removals_[{first, second}] = State::done;
  if (what == "kept") removals_[{first, second}] = State::asked;  // removed in pieces: some may be gone
  if (what == "settling") settlements_[{first, second}] = State::asked;
  if (what == "settled") settlements_[{first, second}] = State::done;
  if (what == "reporting") reports_[{first, second}] = State::asked;
  if (what == "reported") reports_[{first, second}] = State::done;
  if (what == "purging") purges_[first] = State::asked;
  if (what == "purged") purges_[first] = State::done;
  if (what == "adding") additions_[first] = State::asked;
  if (what == "added") additions_[first] = State::done, numbers_[first] = static_cast<std::uint32_t>(second);
  if (what == "changing") changes_[first] = State::asked;
  if (what == "changed") changes_[first] = State::done, quota_of_[first] = std::to_string(second);
}

std::string Ledger::compare(const std::filesystem::path& path) const {
  return compare(path, false);
}

std::string Ledger::compare_rebuilt(const std::filesystem::path& path) const {
  const auto made = mailstore::Store::rebuild(story_options(path));
  if (!made) return "the index cannot be rebuilt: " + made.error().detail + "\n";
  return compare(path, true);
}

std::map<std::size_t, std::set<std::size_t>> Ledger::compare_queue(mailstore::Store& store, bool rebuilt,
                                                                   std::string& wrong) const {
  const auto say = [&](const std::string& what) { wrong += what + "\n"; };
  std::map<std::size_t, std::set<std::size_t>> found;
  for (const auto& one : waiting_in(store)) {
    if (!one.letter || *one.letter >= story_.letters.size()) {
      say("something in the queue is no letter");
      continue;
    }
    const auto name = "letter " + std::to_string(*one.letter) + " to remote " + std::to_string(one.name.ordinal);
    if (!found[*one.letter].insert(one.name.ordinal).second) say(name + " is in the queue twice");
    const std::pair<std::size_t, std::size_t> which(*one.letter, one.name.ordinal);
    if (settlements_.contains(which) && settlements_.at(which) == State::done && !rebuilt)
      say(name + " was settled and is in the queue");
  }
  const auto box = mailbox_at(store, reports_address);
  if (!box) {
    say("the mailbox of the reports is lost");
    return found;
  }
  std::map<std::string, int> told;
  const auto all = tests::entries(store, box->number);
  for (const auto& entry : all ? *all : std::vector<mailstore::Entry>{}) {
    const auto octets = tests::read_message(store, box->number, entry);
    if (octets) ++told[octets->substr(octets->find("Subject: "))];
  }
  for (const auto& [which, state] : reports_) {
    const auto name = "letter " + std::to_string(which.first) + " to remote " + std::to_string(which.second);
    const auto times = told[report_on(which.first, which.second)];
    const bool waits = found[which.first].contains(which.second);
    if (times > 1) say("there are two reports on " + name);
    if (state == State::done && times == 0) say("the report on " + name + " is lost");
    if (state == State::done && waits && !rebuilt) say(name + " was reported on and is in the queue");
    // One transaction: the report is there if and only if the recipient is gone.
    const bool settled = settlements_.contains(which);
    if (times == 0 && !waits && !settled) say(name + " is gone without its report");
    if (times > 0 && waits && !rebuilt) say(name + " waits although its report was sent");
  }
  return found;
}

std::string Ledger::compare(const std::filesystem::path& path, bool rebuilt) const {
  std::string wrong;
  const auto say = [&](const std::string& what) { wrong += what + "\n"; };
  const auto opened = mailstore::Store::open(story_options(path));
  if (!opened) return "the store does not open: " + opened.error().detail + "\n";
  auto& store = **opened;
  std::map<std::size_t, std::map<std::size_t, int>> found;  // letter: mailbox: how often
  std::uint64_t highest = 0;
  for (const auto& [place, id] : ids_) highest = std::max(highest, id);
  for (std::size_t box = 0; box < story_.mailboxes; ++box) {
    auto number = number_of(store, box);
    if (!number && rebuilt && numbers_.contains(box)) {
      // The journal did not know it yet, the mail did: under the address that it was delivered to.
      const MailboxNumber told{numbers_.at(box)};
      if (mailbox_at(store, tests::address_of(told))) number = told;
    }
    const auto purge = purges_.contains(box) ? purges_.at(box) : State::unknown;
    const auto addition = box < 4 ? State::done : additions_.contains(box) ? additions_.at(box) : State::unknown;
    if (!number) {
      if (addition == State::done && purge == State::unknown && !rebuilt)
        say("mailbox " + std::to_string(box) + " is lost");
      continue;
    }
    if (addition == State::unknown) say("mailbox " + std::to_string(box) + " was never made");
    if (purge == State::done && !rebuilt) say("mailbox " + std::to_string(box) + " came back");
    if (changes_.contains(box) && changes_.at(box) == State::done && !rebuilt) {
      const auto now = mailbox_at(store, mailbox_address(box));
      if (std::to_string(now->quota_messages) != quota_of_.at(box))
        say("a change of mailbox " + std::to_string(box) + " is lost");
    }
    const auto all = tests::entries(store, *number);
    if (!all) {
      say("mailbox " + std::to_string(box) + " cannot be read: " + all.error().detail);
      continue;
    }
    for (const auto& entry : *all) {
      const auto octets = tests::read_message(store, *number, entry);
      if (!octets) {
        say("a message of mailbox " + std::to_string(box) + " cannot be read: " + octets.error().detail);
        continue;
      }
      const auto place = letter_of(*octets);
      if (!place || *place >= story_.letters.size()) {
        say("a message of mailbox " + std::to_string(box) + " is no letter");
        continue;
      }
      const tests::Letter sent{.to = {*number}, .octets = story_.octets(*place)};
      if (*octets != tests::front_of(sent, *number) + sent.octets)
        say("letter " + std::to_string(*place) + " is not what was sent");
      if (ids_.contains(*place) && ids_.at(*place) != entry.id.value)
        say("letter " + std::to_string(*place) + " has another id than was told");
      ++found[*place][box];
    }
  }
  const auto queued = compare_queue(store, rebuilt, wrong);
  for (std::size_t place = 0; place < story_.letters.size(); ++place) {
    const auto state = letters_.contains(place) ? letters_.at(place) : State::unknown;
    const auto name = "letter " + std::to_string(place);
    int here = 0;
    int missing = 0;
    std::string where;
    for (const auto box : story_.letters[place].to) {
      const int times = found[place].contains(box) ? found[place].at(box) : 0;
      const auto removal = removals_.contains({box, place}) ? removals_.at({box, place}) : State::unknown;
      const bool purged = purges_.contains(box);
      if (times > 1) say(name + " is in mailbox " + std::to_string(box) + " twice");
      if (times > 0 && removal == State::done && !rebuilt) say(name + " was removed and came back");
      if (times > 0 && state == State::unknown) say(name + " was never sent");
      if (times > 0 && state == State::refused && !rebuilt) say(name + " was refused and is there");
      if (purged || removal != State::unknown) continue;
      const auto addition = box < 4 ? State::done : additions_.contains(box) ? additions_.at(box) : State::unknown;
      if (addition != State::done) continue;  // it was not an owner then, or nobody knows
      (times > 0 ? here : missing) += 1;
      if (times == 0) where += " mailbox " + std::to_string(box);
    }
    for (std::size_t remote = 0; remote < story_.letters[place].remotes; ++remote) {
      const bool waits = queued.contains(place) && queued.at(place).contains(remote);
      if (waits && state == State::unknown) say(name + " was never sent and is in the queue");
      if (waits && state == State::refused && !rebuilt) say(name + " was refused and is in the queue");
      if (settlements_.contains({place, remote}) || reports_.contains({place, remote})) continue;
      (waits ? here : missing) += 1;
      if (!waits) where += " remote " + std::to_string(remote);
    }
    if (state == State::done && missing > 0)
      say(std::string(name).append(" was acknowledged and is lost:").append(where));
    if (here > 0 && missing > 0) say(name + " is half delivered");
  }
  for (const auto& problem : {tests::problems(store)}) {
    if (!problem.empty()) say("check: " + problem);
  }
  // Service goes on, and an id that was told is never given again.
  const auto after = tests::add_mailbox(store, "after@example.test");
  if (!after && after.error().code != mailstore::Errc::exists) {
    say("no mailbox can be added: " + after.error().detail);
  } else {
    const auto box = mailbox_at(store, "after@example.test")->number;
    const auto id = tests::deliver(store, {.to = {box}, .octets = "Subject: afterwards\r\n\r\n"});
    if (!id)
      say("nothing is accepted any more: " + id.error().detail);
    else if (id->value <= highest)
      say("an id is not above those given before");
  }
  return wrong;
}

}  // namespace faults
