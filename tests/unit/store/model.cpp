// A dumb, obviously right store (model.hpp) beside the real one over random operations.
//
//   PENNYPOST_SEED              of the first walk; printed with what goes wrong
//   PENNYPOST_MODEL_WALKS       how many walks (2)
//   PENNYPOST_MODEL_OPERATIONS  of each walk (300)
#include "model.hpp"

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <random>

#include "expect.hpp"
#include "mailstore/store.hpp"
#include "tests/support/failing_files.hpp"
#include "tests/support/store_harness.hpp"

using namespace mailstore;
using tests::error_of;
using tests::Letter;
using tests::Model;
namespace fs = std::filesystem;

namespace {

std::uint64_t setting(const char* name, std::uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

class Walk {
 public:
  explicit Walk(std::uint64_t seed) : folder_(tests::memory_folder()), path_(folder_.path() / "store"), random_(seed) {
    REQUIRE(Store::init(options()));
    open();
    add_domain("a.test");
    // RFC 5321 4.5.1: the first domain comes with one.
    learn_postmaster();
  }

  void step() {
    struct Kind {
      unsigned weight;
      const char* name;
      void (Walk::*act)();
    };
    static constexpr Kind kinds[] = {{40, "deliver", &Walk::deliver},
                                     {6, "deliver while the disk fails", &Walk::deliver_while_failing},
                                     {25, "remove", &Walk::remove},
                                     {8, "add mailbox", &Walk::add_mailbox},
                                     {6, "change mailbox", &Walk::change_mailbox},
                                     {6, "forward mailbox", &Walk::forward_mailbox},
                                     {5, "answer for mailbox", &Walk::answer_for_mailbox},
                                     {4, "remove mailbox", &Walk::remove_mailbox},
                                     {3, "purge mailbox", &Walk::purge_mailbox},
                                     {3, "restore mailbox", &Walk::restore_mailbox},
                                     {2, "purge removed", &Walk::purge_removed},
                                     {5, "rename mailbox", &Walk::rename_mailbox},
                                     {6, "put alias", &Walk::put_alias},
                                     {3, "remove alias", &Walk::remove_alias},
                                     {2, "add domain", &Walk::another_domain},
                                     {1, "remove domain", &Walk::remove_domain},
                                     {3, "change domain", &Walk::change_domain},
                                     {6, "lock", &Walk::lock},
                                     {6, "unlock", &Walk::unlock},
                                     {6, "look", &Walk::look},
                                     {5, "compact", &Walk::compact},
                                     {5, "reopen", &Walk::reopen},
                                     {4, "crash", &Walk::crash},
                                     {2, "rebuild", &Walk::rebuild},
                                     {3, "the clock jumps", &Walk::jump}};
    unsigned all = 0;
    for (const auto& kind : kinds) all += kind.weight;
    auto chosen = below(all);
    for (const auto& kind : kinds) {
      if (chosen >= kind.weight) {
        chosen -= kind.weight;
        continue;
      }
      last_.append("; ").append(kind.name);
      if (last_.size() > 200) last_.erase(0, last_.size() - 200);
      CAPTURE(last_);
      (this->*kind.act)();
      compare_totals();
      if (!model_.boxes.empty()) compare_messages(some_box());
      return;
    }
  }

  void compare_all() {
    compare_totals();
    for (const auto& [number, box] : model_.boxes) compare_messages(number);
    CHECK(tests::problems(*store_) == "");
  }

 private:
  // ---- chance

  std::uint64_t below(std::uint64_t limit) { return random_() % limit; }
  std::string domain_name() { return std::string(1, static_cast<char>('a' + below(3))) + ".test"; }
  std::string address() { return "p" + std::to_string(below(6)) + "@" + domain_name(); }
  std::uint32_t some_box() {
    auto at = model_.boxes.begin();
    std::advance(at, static_cast<std::ptrdiff_t>(below(model_.boxes.size())));
    return at->first;
  }
  Letter letter() {
    Letter one;
    std::set<std::uint32_t> to;
    for (auto count = 1 + below(4); count > 0; --count) {
      // Now and then somebody who is gone, or never was.
      to.insert(model_.boxes.empty() || below(10) == 0 ? static_cast<std::uint32_t>(1 + below(highest_number_ + 2))
                                                       : some_box());
    }
    for (const auto number : to) one.to.push_back(MailboxNumber{number});
    const auto size = below(8) == 0 ? 8000 + below(30'000) : 30 + below(2500);
    ++letters_;
    one.octets = tests::make_message("m" + std::to_string(letters_), size, letters_);
    one.from = below(5) == 0 ? "" : "sender" + std::to_string(below(100)) + "@far.test";
    return one;
  }

  // ---- the store

  Options options() {
    auto options = tests::small_options(path_);
    options.map_size = std::uint64_t{128} << 20U;
    options.stream_threshold = 8000;
    options.segment_size = 48 << 10U;
    options.files = &files_;
    options.clock = [this] { return clock_ += 3; };
    return options;
  }
  void open() {
    auto opened = Store::open(options());
    if (!opened) FAIL("it does not open: " << opened.error().detail);
    store_ = std::move(*opened);
  }
  void close() {
    locks_.clear();
    model_.held.clear();
    looks_.clear();
    store_.reset();
  }

  // ---- mail

  void deliver() {
    deliver_some([] {});
  }

  void deliver_while_failing() {
    deliver_some([this] {
      switch (below(4)) {
        case 0:
          files_.writes = ENOSPC;
          break;
        case 1:
          files_.syncs = EIO;
          break;
        case 2:
          files_.opens = EMFILE;
          break;
        default:
          files_.writes_left = below(20'000);
      }
    });
    files_.writes = files_.syncs = files_.opens = 0;
    files_.writes_left = ~std::uint64_t{0};
  }

  template <class Prepare>
  void deliver_some(Prepare prepare) {
    std::vector<Letter> some;
    for (auto count = below(3) == 0 ? 1 + below(20) : 1 + below(3); count > 0; --count) some.push_back(letter());
    prepare();
    const bool failing = files_.writes != 0 || files_.syncs != 0 || files_.opens != 0 || ~files_.writes_left != 0;
    const auto ids = tests::deliver_together(*store_, some);
    std::uint64_t newest = newest_id_;
    for (std::size_t i = 0; i < some.size(); ++i) {
      if (!ids[i]) {
        CHECK(failing);
        CHECK((ids[i].error().code == Errc::full || ids[i].error().code == Errc::unavailable));
        continue;
      }
      CHECK(ids[i]->value > newest_id_);
      newest = std::max(newest, ids[i]->value);
      for (const auto number : some[i].to) {
        const auto box = model_.boxes.find(std::to_underlying(number));
        if (box != model_.boxes.end())
          box->second.messages[ids[i]->value] = tests::front_of(some[i], number) + some[i].octets;
      }
    }
    newest_id_ = newest;
  }

  void remove() {
    if (model_.boxes.empty()) return;
    const auto number = some_box();
    auto& messages = model_.boxes.at(number).messages;
    std::vector<MessageId> ids{MessageId{1 + below(1000)}};  // never was
    std::uint64_t many = 0;
    const auto share = 1 + below(3);
    for (auto at = messages.begin(); at != messages.end();) {
      if (below(share) != 0) {
        ++at;
        continue;
      }
      ids.push_back(MessageId{at->first});
      if (below(10) == 0) ids.push_back(MessageId{at->first});  // named twice
      ++many;
      at = messages.erase(at);
    }
    const auto lock = locks_.find(number);
    const auto removed = lock != locks_.end() ? tests::remove(*store_, lock->second, ids)
                                              : tests::remove(*store_, MailboxNumber{number}, ids);
    REQUIRE(error_of(removed) == std::nullopt);
    CHECK(*removed == many);
  }

  void lock() {
    if (model_.boxes.empty()) return;
    const auto number = some_box();
    auto lock = store_->lock_maildrop(MailboxNumber{number});
    CHECK(lock.has_value() == !model_.held.contains(number));
    if (!lock) {
      CHECK(error_of(lock) == Errc::in_use);
      return;
    }
    model_.held.insert(number);
    locks_.emplace(number, std::move(*lock));
  }
  void unlock() {
    if (locks_.empty()) return;
    model_.held.erase(locks_.begin()->first);
    locks_.erase(locks_.begin());
  }

  struct Look {
    View view;
    std::map<std::uint64_t, std::string> messages;
  };
  /// A view is looked at again later: what came since is no part of it.
  void look() {
    if (model_.boxes.empty()) return;
    const auto number = some_box();
    if (const auto old = looks_.find(number); old != looks_.end()) {
      auto left = old->second.messages;
      std::erase_if(left, [&](const auto& one) { return !model_.boxes.at(number).messages.contains(one.first); });
      std::vector<Entry> page(left.size() + 1);
      const auto seen = store_->list(old->second.view, std::nullopt, page);
      REQUIRE(seen);
      REQUIRE(*seen == left.size());
      std::size_t place = 0;
      for (const auto& [id, octets] : left) {
        CHECK(page[place++].id.value == id);
        CHECK(store_->find(old->second.view, MessageId{id}).value());
      }
      looks_.erase(old);
      return;
    }
    const auto view = store_->peek(MailboxNumber{number});
    REQUIRE(view);
    looks_.emplace(number, Look{*view, model_.boxes.at(number).messages});
  }

  // ---- people

  void check(const Model::Refusal& wanted, const Result<void>& result) { CHECK(error_of(result) == wanted); }

  void add_mailbox() {
    const auto where = address();
    const auto added = tests::add_mailbox(*store_, where);
    const auto number = added ? std::to_underlying(*added) : 0;
    CHECK(model_.add_mailbox(where, number) == error_of(added));
    if (!added) return;
    CHECK(number > highest_number_);
    highest_number_ = number;
  }
  void change_mailbox() {
    const auto where = address();
    MailboxChange change;
    change.locked = below(2) == 0;
    change.quota_octets = below(2) == 0 ? std::optional<std::uint64_t>() : below(1000);
    change.quota_messages = below(1000);
    check(model_.change_mailbox(where, *change.locked, *change.quota_octets, *change.quota_messages),
          tests::change_mailbox(*store_, where, change));
  }
  void forward_mailbox() {
    const auto where = address();
    std::vector<std::string> to;
    for (auto count = below(3); count > 0; --count) to.push_back(below(3) == 0 ? "x@far.test" : address());
    MailboxChange change;
    change.forward = to;
    change.keep_copy = below(2) == 0;
    check(model_.forward_mailbox(where, to, *change.keep_copy), tests::change_mailbox(*store_, where, change));
  }
  void answer_for_mailbox() {
    const auto where = address();
    std::optional<AutoReply> reply;
    if (below(3) != 0) reply = AutoReply{below(100), below(100), "subject", std::string(below(6000), 'x')};
    MailboxChange change;
    change.auto_reply = reply;
    check(model_.answer_for_mailbox(where, reply), tests::change_mailbox(*store_, where, change));
  }
  void remove_mailbox() {
    const auto where = address();
    check(model_.remove_mailbox(where, false), tests::remove_mailbox(*store_, where, false));
  }
  void purge_mailbox() {
    const auto where = address();
    looks_.erase(model_.number_of(where));
    check(model_.remove_mailbox(where, true), tests::remove_mailbox(*store_, where, true));
  }
  void restore_mailbox() {
    const auto where = address();
    check(model_.restore_mailbox(where), tests::restore_mailbox(*store_, where));
  }
  void purge_removed() {
    std::set<std::string> gone;
    std::uint64_t busy = 0;
    for (auto at = model_.boxes.begin(); at != model_.boxes.end();) {
      if (!at->second.removed || model_.held.contains(at->first)) {
        busy += at->second.removed ? 1 : 0;
        ++at;
        continue;
      }
      gone.insert(at->second.address);
      looks_.erase(at->first);
      at = model_.boxes.erase(at);
    }
    const auto purged = tests::purge_removed(*store_, ~std::uint64_t{0});
    REQUIRE(purged);
    CHECK(std::set(purged->mailboxes.begin(), purged->mailboxes.end()) == gone);
    CHECK(purged->busy == busy);
  }
  void rename_mailbox() {
    const auto where = address();
    const auto to = address();
    check(model_.rename_mailbox(where, to), tests::rename_mailbox(*store_, where, to));
  }
  void put_alias() {
    const auto where = address();
    std::vector<std::string> targets{address()};
    if (below(2) == 0) targets.push_back(address());
    const auto owner = below(2) == 0 ? "" : address();
    check(model_.put_alias(where, targets, owner),
          tests::put_alias(*store_, {.address = where, .targets = targets, .owner = owner}));
  }
  void remove_alias() {
    const auto where = address();
    check(model_.remove_alias(where), tests::remove_alias(*store_, where));
  }
  void add_domain(const std::string& name) {
    check(model_.add_domain(name), tests::add_domain(*store_, {.name = name}));
  }
  void another_domain() {
    const bool none = model_.domains.empty();
    add_domain(domain_name());
    if (none) learn_postmaster();
  }
  void learn_postmaster() {
    const auto name = "postmaster@" + model_.domains.begin()->first;
    const auto made = store_->directory()->mailbox(name);
    REQUIRE((made && *made));
    const auto number = std::to_underlying((*made)->number);
    CHECK(number > highest_number_);
    CHECK(model_.add_mailbox(name, number) == std::nullopt);
    highest_number_ = number;
  }
  void remove_domain() {
    locks_.clear();
    model_.held.clear();
    looks_.clear();
    const auto name = domain_name();
    const bool purge = below(2) == 0;
    check(model_.remove_domain(name, purge), tests::remove_domain(*store_, name, purge));
  }
  void change_domain() {
    const auto name = domain_name();
    const Model::Domain to{.locked = below(2) == 0,
                           .catch_all = below(2) == 0 ? "" : address(),
                           .quota_octets = below(100'000),
                           .journal = below(2) == 0 ? "" : address()};
    DomainChange change;
    change.locked = to.locked;
    change.catch_all = to.catch_all;
    change.quota_octets = to.quota_octets;
    change.journal = to.journal;
    check(model_.change_domain(name, to), tests::change_domain(*store_, name, change));
  }

  // ---- care

  void compact() {
    const auto report = store_->compact({.all = below(2) == 0, .at_once = true, .stop = {}});
    REQUIRE(error_of(report) == std::nullopt);
    CHECK(report->problems.empty());
    compare_all();
  }
  void reopen() {
    close();
    open();
    compare_all();
  }
  /// What a killed process leaves: everything as it is now, and nobody's locks.
  void crash() {
    const auto left = folder_.path() / ("crashed" + std::to_string(++crashes_));
    fs::copy(path_, left, fs::copy_options::recursive);
    close();
    fs::remove_all(path_);
    path_ = left;
    open();
    compare_all();
  }
  void rebuild() {
    close();
    if (below(2) == 0) fs::remove_all(path_ / "index");
    const auto report = Store::rebuild(options());
    REQUIRE(error_of(report) == std::nullopt);
    if (!report->old_index.empty()) fs::remove_all(report->old_index);
    open();
    compare_all();
  }
  void jump() {
    constexpr std::uint64_t hour = std::uint64_t{3600} * 1'000'000;
    clock_ = below(2) == 0 ? clock_ + below(100) * hour : clock_ - below(90) * hour;
  }

  // ---- comparing

  void compare_totals() {
    const auto directory = store_->directory();
    std::map<std::string, std::uint32_t> living;
    std::map<std::string, std::uint32_t> all;
    for (const auto which : {Which::living, Which::all}) {
      auto& into = which == Which::living ? living : all;
      REQUIRE(directory->each_mailbox(
          {},
          [&](const Mailbox& mailbox) {
            into[mailbox.address] = std::to_underlying(mailbox.number);
            return true;
          },
          {}, which));
    }
    std::map<std::string, std::uint32_t> wanted_living;
    std::map<std::string, std::uint32_t> wanted;
    for (const auto& [number, box] : model_.boxes) {
      wanted[box.address] = number;
      if (!box.removed) wanted_living[box.address] = number;
      const auto row = box.removed ? directory->removed_mailbox(box.address) : directory->mailbox(box.address);
      REQUIRE((row && *row));
      CHECK((*row)->display == box.display);
      CHECK((*row)->locked == box.locked);
      CHECK((*row)->quota_octets == box.quota_octets);
      CHECK((*row)->quota_messages == box.quota_messages);
      CHECK((*row)->forward == box.forward);
      CHECK((*row)->keep_copy == box.keep_copy);
      CHECK((*row)->auto_reply == box.reply.has_value());
      CHECK(directory->auto_reply(MailboxNumber{number}).value() == box.reply);
      std::uint64_t octets = 0;
      for (const auto& [id, text] : box.messages) octets += tests::real_octets(text);
      const auto totals = directory->totals(MailboxNumber{number});
      REQUIRE(totals);
      CHECK(totals->messages == box.messages.size());
      CHECK(totals->octets == octets);
    }
    CHECK(living == wanted_living);
    CHECK(all == wanted);
    std::map<std::string, std::vector<std::string>> aliases;
    std::map<std::string, std::string> owners;
    REQUIRE(directory->each_alias({}, [&](const Alias& alias) {
      aliases[alias.address] = alias.targets;
      if (!alias.owner.empty()) owners[alias.address] = alias.owner;
      return true;
    }));
    CHECK(aliases == model_.aliases);
    CHECK(owners == model_.owners);
    std::size_t domains = 0;
    REQUIRE(directory->each_domain([&](const Domain& domain) {
      ++domains;
      const auto& model = model_.domains.at(domain.name);
      CHECK(domain.locked == model.locked);
      CHECK(domain.catch_all == model.catch_all);
      CHECK(domain.quota_octets == model.quota_octets);
      CHECK(domain.journal == model.journal);
      return true;
    }));
    CHECK(domains == model_.domains.size());
  }

  void compare_messages(std::uint32_t number) {
    const auto all = tests::entries(*store_, MailboxNumber{number});
    REQUIRE(all);
    const auto& wanted = model_.boxes.at(number).messages;
    CHECK(all->size() == wanted.size());
    for (const auto& entry : *all) {
      const auto known = wanted.find(entry.id.value);
      REQUIRE(known != wanted.end());
      CHECK(entry.octets == tests::real_octets(known->second));
      const auto octets = tests::read_message(*store_, MailboxNumber{number}, entry);
      CHECK(error_of(octets) == std::nullopt);
      if (octets) CHECK(*octets == known->second);
    }
  }

  tests::TempFolder folder_;
  fs::path path_;
  std::mt19937_64 random_;
  tests::FailingFiles files_;
  std::atomic<std::uint64_t> clock_{std::uint64_t{7} * 365 * 86400 * 1'000'000};
  std::shared_ptr<Store> store_;
  Model model_;
  std::map<std::uint32_t, MaildropLock> locks_;
  std::map<std::uint32_t, Look> looks_;
  std::uint64_t letters_ = 0, newest_id_ = 0, crashes_ = 0;
  std::uint32_t highest_number_ = 0;
  std::string last_;  // the latest operations
};

}  // namespace

TEST_CASE("the store does what a dumb model of it does, over random operations, failures and crashes") {
  const auto first = setting("PENNYPOST_SEED", 1);
  const auto walks = setting("PENNYPOST_MODEL_WALKS", 2);
  const auto operations = setting("PENNYPOST_MODEL_OPERATIONS", 300);
  for (auto seed = first; seed < first + walks; ++seed) {
    CAPTURE(seed);
    Walk walk(seed);
    for (std::uint64_t i = 0; i < operations; ++i) {
      CAPTURE(i);
      walk.step();
    }
    walk.compare_all();
  }
}
