#include "mailstore/directory.hpp"

#include "expect.hpp"
#include "mailstore/store.hpp"
#include "tests/support/store_harness.hpp"

using namespace mailstore;
using tests::error_of;
using tests::got;

namespace {

Domain local(std::string name) {
  return {.name = std::move(name), .alias_of = {}};
}
Domain alias_domain(std::string name, std::string of) {
  return {.name = std::move(name), .kind = DomainKind::alias, .alias_of = std::move(of)};
}

std::vector<std::string> mailbox_names(Store& store, std::string_view domain, std::string_view after = {}) {
  std::vector<std::string> names;
  got(store.directory()->each_mailbox(
      domain,
      [&](const Mailbox& box) {
        names.push_back(box.address);
        return true;
      },
      after));
  return names;
}

}  // namespace

TEST_CASE("domains are added once, locked, and listed in order") {
  tests::TestStore store(0);
  CHECK(error_of(tests::add_domain(*store, local("example.test"))) == Errc::exists);
  CHECK_FALSE(error_of(tests::add_domain(*store, local("b.test"))));
  CHECK_FALSE(error_of(tests::add_domain(*store, local("a.test"))));
  CHECK(error_of(tests::lock_domain(*store, "none.test", true)) == Errc::not_found);
  CHECK_FALSE(error_of(tests::lock_domain(*store, "b.test", true)));
  CHECK(got(store->directory()->domain("b.test"))->locked);
  CHECK(got(store->directory()->domain("b.test"))->created > 0);
  CHECK_FALSE(got(store->directory()->domain("none.test")));
  CHECK_FALSE(got(store->directory()->domain("")));
  CHECK_FALSE(got(store->directory()->domain(std::string(600, 'x'))));
  std::vector<std::string> names;
  std::uint64_t boxes = 0;
  const auto each = [&](const Domain& domain) {
    names.push_back(domain.name);
    boxes += domain.mailboxes;
    return names.size() < 2;
  };
  got(store->directory()->each_domain(each));
  CHECK(names == std::vector<std::string>{"a.test", "b.test"});
  got(store->directory()->each_domain(each, "b.test"));
  CHECK(names.back() == "example.test");
  CHECK(boxes == 1);
}

TEST_CASE("an alias domain needs a domain with mailboxes of its own") {
  tests::TestStore store(1);
  CHECK(error_of(tests::add_domain(*store, alias_domain("x.test", "none.test"))) == Errc::not_found);
  CHECK_FALSE(error_of(tests::add_domain(*store, alias_domain("x.test", "example.test"))));
  CHECK(error_of(tests::add_domain(*store, alias_domain("y.test", "x.test"))) == Errc::conflict);
  CHECK(error_of(tests::add_domain(*store, alias_domain("z.test", "z.test"))) == Errc::not_found);
  CHECK(error_of(tests::add_mailbox(*store, "a@x.test")) == Errc::conflict);
  CHECK(error_of(tests::put_alias(*store, {.address = "a@x.test", .targets = {"u0@example.test"}})) == Errc::conflict);
  CHECK_FALSE(error_of(tests::remove_domain(*store, "x.test", false)));
}

TEST_CASE("the first domain has a postmaster, later ones do not") {
  tests::TestStore store(0);
  CHECK(got(store->directory()->mailbox("postmaster@example.test")));
  got(tests::add_domain(*store, local("second.test")));
  CHECK_FALSE(got(store->directory()->mailbox("postmaster@second.test")));
  // An alias domain is no first domain.
  tests::TempFolder folder;
  auto options = tests::small_options(folder.path() / "store");
  got(Store::init(options));
  const auto other = got(Store::open(options));
  got(tests::add_domain(*other, {.name = "far.test", .kind = DomainKind::remote, .alias_of = {}}));
  got(tests::add_domain(*other, local("near.test")));
  CHECK(got(other->directory()->mailbox("postmaster@near.test")));
}

TEST_CASE("mailboxes are added once, changed, and listed by domain and in pages") {
  tests::TestStore store(0);
  CHECK(error_of(tests::add_mailbox(*store, "a@none.test")) == Errc::not_found);
  const auto first =
      got(tests::add_mailbox(*store, NewMailbox{.address = "ann@example.test",
                                                .display = "Ann@Example.test",
                                                .quota_octets = 10,
                                                .quota_messages = 2,
                                                .credential = {.password_hash = "h", .scram_sha256 = {}}}));
  CHECK(error_of(tests::add_mailbox(*store, "ann@example.test")) == Errc::exists);
  const auto second = got(tests::add_mailbox(*store, "bob@example.test"));
  CHECK(first != second);

  auto ann = got(store->directory()->mailbox("ann@example.test")).value();
  CHECK(ann.number == first);
  CHECK(ann.display == "Ann@Example.test");
  CHECK(ann.quota_octets == 10);
  CHECK(ann.quota_messages == 2);
  CHECK(ann.credential.version > 0);
  CHECK(ann.credential.password_hash == "h");
  const auto bob = got(store->directory()->mailbox(second)).value();
  CHECK(bob.address == "bob@example.test");
  CHECK(bob.display == "bob@example.test");
  CHECK(bob.credential.version == 0);

  CHECK(error_of(tests::change_mailbox(*store, "eve@example.test", {})) == Errc::not_found);
  MailboxChange change{.locked = true, .quota_octets = 20};
  change.credential = Credential{.password_hash = "i", .scram_sha256 = "s"};
  got(tests::change_mailbox(*store, "ann@example.test", change));
  const auto changed = got(store->directory()->mailbox("ann@example.test")).value();
  CHECK(changed.locked);
  CHECK(changed.quota_octets == 20);
  CHECK(changed.quota_messages == 2);
  CHECK(changed.credential.version > ann.credential.version);
  CHECK(changed.credential.scram_sha256 == "s");

  got(tests::add_domain(*store, local("example")));
  got(tests::add_domain(*store, local("example.test2")));
  got(tests::add_mailbox(*store, "zoe@example"));
  got(tests::add_mailbox(*store, "abe@example.test2"));
  CHECK(mailbox_names(*store, "example.test") ==
        std::vector<std::string>{"ann@example.test", "bob@example.test", "postmaster@example.test"});
  CHECK(mailbox_names(*store, "example") == std::vector<std::string>{"zoe@example"});
  CHECK(mailbox_names(*store, "").size() == 5);
  CHECK(mailbox_names(*store, "example.test", "ann@example.test") ==
        std::vector<std::string>{"bob@example.test", "postmaster@example.test"});
  CHECK(mailbox_names(*store, "example.test", "aab@example.test").size() == 3);
  CHECK(mailbox_names(*store, "example.test", "zoe@example").size() == 3);
  CHECK(mailbox_names(*store, "", "bob@example.test") ==
        std::vector<std::string>{"postmaster@example.test", "abe@example.test2"});
  CHECK(mailbox_names(*store, "example.test", "zzz@example.test").empty());
}

TEST_CASE("a mailbox whose password is taken away has no credential any more") {
  tests::TestStore store(0);
  got(tests::add_mailbox(*store, NewMailbox{.address = "ann@example.test",
                                            .display = {},
                                            .credential = {.password_hash = "h", .scram_sha256 = {}}}));
  MailboxChange change;
  change.credential = Credential{};
  got(tests::change_mailbox(*store, "ann@example.test", change));
  CHECK(got(store->directory()->mailbox("ann@example.test"))->credential.version == 0);
}

TEST_CASE("a removed mailbox keeps mail and name until it is purged") {
  tests::TestStore store(2);
  const auto box = store.boxes()[0];
  got(tests::deliver(*store, {.to = {box}, .octets = tests::make_message("one", 300)}));
  CHECK(error_of(tests::remove_mailbox(*store, "none@example.test", false)) == Errc::not_found);
  got(tests::remove_mailbox(*store, "u0@example.test", false));
  CHECK_FALSE(got(store->directory()->mailbox("u0@example.test")));
  CHECK_FALSE(got(store->directory()->mailbox(box)));
  CHECK(error_of(tests::remove_mailbox(*store, "u0@example.test", false)) == Errc::not_found);
  CHECK(error_of(tests::change_mailbox(*store, "u0@example.test", {.locked = true})) == Errc::not_found);
  const auto again = tests::add_mailbox(*store, "u0@example.test");
  REQUIRE(error_of(again) == Errc::conflict);
  CHECK(again.error().detail.find("restore") != std::string::npos);
  CHECK(again.error().detail.find("--purge") != std::string::npos);
  CHECK(error_of(tests::put_alias(*store, {.address = "u0@example.test", .targets = {"a@far.test"}})) ==
        Errc::conflict);
  CHECK(mailbox_names(*store, "example.test").size() == 2);

  // Accepted at RCPT is accepted: it is kept with the mailbox.
  got(tests::deliver(*store, {.to = {box}, .octets = tests::make_message("under way", 300)}));
  CHECK(got(store->peek(box)).messages == 2);
  CHECK(error_of(tests::remove_domain(*store, "example.test", false)) == Errc::conflict);

  got(tests::remove_mailbox(*store, "u0@example.test", true));
  CHECK(got(store->peek(box)).messages == 0);
  CHECK(error_of(tests::remove_mailbox(*store, "u0@example.test", true)) == Errc::not_found);
  const auto fresh = got(tests::add_mailbox(*store, "u0@example.test"));
  CHECK(fresh != box);
  CHECK(got(store->peek(fresh)).messages == 0);
  CHECK(tests::problems(*store) == "");
}

TEST_CASE("a purge takes mail in pieces, and only its own") {
  tests::TestStore store(2);
  std::vector<tests::Letter> letters(600, {.to = store.boxes(), .octets = tests::make_message("both", 150)});
  for (const auto& result : tests::deliver_together(*store, letters)) CHECK(result);
  got(tests::remove_mailbox(*store, "u0@example.test", true));
  CHECK(got(store->peek(store.boxes()[0])).messages == 0);
  CHECK(got(store->peek(store.boxes()[1])).messages == 600);
  CHECK(tests::problems(*store) == "");
}

TEST_CASE("mail for a mailbox purged meanwhile goes to the other owners") {
  tests::TestStore store(2, [](Options& options) { options.stream_threshold = 4000; });
  got(tests::remove_mailbox(*store, "u0@example.test", true));
  CHECK(tests::deliver(*store, {.to = store.boxes(), .octets = tests::make_message("one", 300)}));
  CHECK(tests::deliver(*store, {.to = store.boxes(), .octets = tests::make_message("one", 30000)}));
  CHECK(got(store->peek(store.boxes()[0])).messages == 0);
  CHECK(got(store->peek(store.boxes()[1])).messages == 2);
  const auto files = store.segment_files();
  CHECK(tests::deliver(*store, {.to = {store.boxes()[0]}, .octets = tests::make_message("one", 300)}));
  CHECK(tests::deliver(*store, {.to = {store.boxes()[0]}, .octets = tests::make_message("one", 30000)}));
  CHECK(store.segment_files() == files);
  CHECK(tests::problems(*store) == "");
}

TEST_CASE("a domain goes when it is empty, or with all it has") {
  tests::TestStore store(1);
  CHECK(error_of(tests::remove_domain(*store, "none.test", false)) == Errc::not_found);
  CHECK(error_of(tests::remove_domain(*store, "none.test", true)) == Errc::not_found);
  CHECK(error_of(tests::remove_domain(*store, "example.test", false)) == Errc::conflict);
  got(tests::add_domain(*store, local("second.test")));
  CHECK_FALSE(error_of(tests::remove_domain(*store, "second.test", false)));

  got(tests::add_domain(*store, local("second.test")));
  got(tests::put_alias(*store, {.address = "a@second.test", .targets = {"u0@example.test"}}));
  CHECK(error_of(tests::remove_domain(*store, "second.test", false)) == Errc::conflict);
  const auto box = got(tests::add_mailbox(*store, "b@second.test"));
  got(tests::deliver(*store, {.to = {box, store.boxes()[0]}, .octets = tests::make_message("shared", 500)}));
  got(tests::remove_domain(*store, "second.test", true));
  CHECK_FALSE(got(store->directory()->domain("second.test")));
  CHECK_FALSE(got(store->directory()->alias("a@second.test")));
  CHECK_FALSE(got(store->directory()->mailbox("b@second.test")));
  CHECK(got(store->peek(store.boxes()[0])).messages == 1);
  CHECK(tests::problems(*store) == "");
  // And again: a new domain, nothing of the old.
  got(tests::add_domain(*store, local("second.test")));
  CHECK_FALSE(got(store->directory()->domain("second.test"))->locked);
  CHECK(mailbox_names(*store, "second.test").empty());
}

TEST_CASE("a domain that cannot go loses nothing by the try") {
  tests::TestStore store(1);
  const auto box = store.boxes()[0];
  got(tests::deliver(*store, {.to = {box}, .octets = tests::make_message("kept", 300)}));
  got(tests::add_domain(*store, alias_domain("x.test", "example.test")));
  CHECK(error_of(tests::remove_domain(*store, "example.test", true)) == Errc::conflict);
  CHECK(got(store->directory()->mailbox("u0@example.test")));
  CHECK(got(store->peek(box)).messages == 1);
  CHECK_FALSE(got(store->directory()->domain("example.test"))->locked);
}

TEST_CASE("an alias is put, replaced and removed; loops are refused") {
  tests::TestStore store(1);
  CHECK(error_of(tests::put_alias(*store, {.address = "a@none.test", .targets = {"x@far.test"}})) == Errc::not_found);
  CHECK(error_of(tests::put_alias(*store, {.address = "u0@example.test", .targets = {"x@far.test"}})) ==
        Errc::conflict);
  CHECK(error_of(tests::put_alias(*store, {.address = "a@example.test", .targets = {}})) == Errc::conflict);
  CHECK(error_of(tests::put_alias(*store, {.address = "a@example.test", .targets = {"a@example.test"}})) ==
        Errc::conflict);
  got(tests::put_alias(*store, {.address = "a@example.test", .targets = {"u0@example.test", "b@example.test"}}));
  CHECK(error_of(tests::add_mailbox(*store, "a@example.test")) == Errc::exists);
  got(tests::put_alias(*store, {.address = "b@example.test", .targets = {"c@example.test", "x@far.test"}}));
  CHECK(error_of(tests::put_alias(*store, {.address = "c@example.test",
                                           .targets = {"u0@example.test", "a@example.test"}})) == Errc::conflict);
  // Two ways to the same place are no loop.
  got(tests::put_alias(*store, {.address = "c@example.test", .targets = {"u0@example.test"}}));
  got(tests::put_alias(*store, {.address = "d@example.test", .targets = {"b@example.test", "c@example.test"}}));
  got(tests::put_alias(*store, {.address = "a@example.test", .targets = {"x@far.test"}}));
  CHECK(got(store->directory()->alias("a@example.test"))->targets == std::vector<std::string>{"x@far.test"});
  got(tests::put_alias(*store, {.address = "c@example.test", .targets = {"a@example.test"}}));

  std::vector<std::string> names;
  const auto each = [&](const Alias& alias) {
    names.push_back(alias.address);
    return true;
  };
  got(store->directory()->each_alias("example.test", each));
  CHECK(names.size() == 4);
  names.clear();
  got(store->directory()->each_alias("", each, "b@example.test"));
  CHECK(names == std::vector<std::string>{"c@example.test", "d@example.test"});

  got(tests::remove_alias(*store, "a@example.test"));
  CHECK(error_of(tests::remove_alias(*store, "a@example.test")) == Errc::not_found);
  CHECK_FALSE(error_of(tests::add_mailbox(*store, "a@example.test")));
}

TEST_CASE("an alias does not lead back to itself by way of an alias domain") {
  tests::TestStore store(1);
  got(tests::add_domain(*store, alias_domain("x.test", "example.test")));
  CHECK(error_of(tests::put_alias(*store, {.address = "a@example.test", .targets = {"a@x.test"}})) == Errc::conflict);
  got(tests::put_alias(*store, {.address = "b@example.test", .targets = {"c@x.test"}}));
  CHECK(error_of(tests::put_alias(*store, {.address = "c@example.test", .targets = {"b@x.test"}})) == Errc::conflict);
}

TEST_CASE("the directory is the same after a restart, and numbers are not given again") {
  tests::TestStore store(2);
  const auto last = got(tests::add_mailbox(*store, "last@example.test"));
  got(tests::remove_mailbox(*store, "last@example.test", true));
  got(tests::put_alias(*store, {.address = "a@example.test", .targets = {"u0@example.test"}}));
  store.reopen();
  CHECK(got(store->directory()->mailbox("u1@example.test"))->number == store.boxes()[1]);
  CHECK(got(store->directory()->alias("a@example.test")));
  CHECK(got(tests::add_mailbox(*store, "next@example.test")) > last);
}

TEST_CASE("a look is consistent: what changes meanwhile is not in it") {
  tests::TestStore store(1);
  const auto look = store->directory();
  got(tests::add_mailbox(*store, "later@example.test"));
  CHECK_FALSE(got(look->mailbox("later@example.test")));
  CHECK(got(store->directory()->mailbox("later@example.test")));
}

TEST_CASE("names of any length are only not found") {
  tests::TestStore store(0);
  for (const std::size_t size : {0U, 1U, 255U, 480U, 481U, 600U, 5000U}) {
    const auto long_local = std::string(size, 'x') + "@example.test";
    const auto long_domain = "a@" + std::string(size, 'x');
    const auto look = store->directory();
    CHECK_FALSE(got(look->mailbox(long_local)));
    CHECK_FALSE(got(look->alias(long_local)));
    CHECK_FALSE(got(look->mailbox(long_domain)));
    CHECK_FALSE(got(look->domain(std::string(size, 'x'))));
    CHECK(look->each_mailbox(long_domain, [](const Mailbox&) { return true; }, long_local));
  }
}

TEST_CASE("settings of a domain: who has them, and what they lead to") {
  tests::TestStore store(1);
  got(tests::add_domain(*store, alias_domain("x.test", "example.test")));
  CHECK(error_of(tests::change_domain(*store, "none.test", {.quota_octets = 5})) == Errc::not_found);
  CHECK(error_of(tests::change_domain(*store, "x.test", {.quota_octets = 5})) == Errc::conflict);
  CHECK(error_of(tests::change_domain(*store, "x.test", {.plus_addressing = false})) == Errc::conflict);
  CHECK(error_of(tests::change_domain(*store, "x.test", {.catch_all = "u0@example.test"})) == Errc::conflict);
  got(tests::change_domain(*store, "x.test", {.locked = true}));
  CHECK(error_of(tests::change_domain(*store, "example.test", {.catch_all = "none@example.test"})) == Errc::not_found);

  got(tests::change_domain(*store, "example.test",
                           {.catch_all = "u0@example.test", .quota_octets = 5, .plus_addressing = false}));
  got(tests::change_domain(*store, "example.test", {.locked = true}));
  store.reopen();
  auto domain = got(store->directory()->domain("example.test")).value();
  CHECK(domain.catch_all == "u0@example.test");
  CHECK(domain.quota_octets == 5);
  CHECK_FALSE(domain.plus_addressing);
  CHECK(domain.locked);
  got(tests::change_domain(*store, "example.test", {.catch_all = "", .quota_octets = 0, .plus_addressing = true}));
  domain = got(store->directory()->domain("example.test")).value();
  CHECK(domain.catch_all.empty());
  CHECK(domain.quota_octets == 0);
  CHECK(domain.plus_addressing);
  CHECK(domain.locked);

  // A new domain may lead elsewhere, or to a postmaster that comes with it.
  auto other = local("second.test");
  other.catch_all = "nobody@second.test";
  CHECK(error_of(tests::add_domain(*store, other)) == Errc::not_found);
  CHECK_FALSE(got(store->directory()->domain("second.test")));
  other.catch_all = "u0@example.test";
  got(tests::add_domain(*store, other));
  CHECK(got(store->directory()->domain("second.test"))->catch_all == "u0@example.test");
}

TEST_CASE("a mailbox has its own quota or that of its domain") {
  tests::TestStore store(0);
  got(tests::add_mailbox(*store, "ann@example.test"));
  got(tests::change_domain(*store, "example.test", {.quota_octets = 50}));
  const auto limits = [&] {
    const auto look = store->directory();
    return limits_of(*got(look->mailbox("ann@example.test")), *got(look->domain("example.test")));
  };
  CHECK(limits().octets == 50);
  CHECK(limits().messages == 0);
  got(tests::change_mailbox(*store, "ann@example.test", {.quota_octets = 70, .quota_messages = 3}));
  CHECK(limits().octets == 70);
  CHECK(limits().messages == 3);
  got(tests::change_mailbox(*store, "ann@example.test", {.quota_octets = 0}));
  CHECK(limits().octets == 0);
  MailboxChange back;
  back.quota_octets.emplace(std::nullopt);
  got(tests::change_mailbox(*store, "ann@example.test", back));
  CHECK(limits().octets == 50);
}

TEST_CASE("a removed mailbox comes back with its mail, its password and what was accepted meanwhile") {
  tests::TestStore store(0);
  const auto box =
      got(tests::add_mailbox(*store, NewMailbox{.address = "ann@example.test",
                                                .display = {},
                                                .credential = {.password_hash = "h", .scram_sha256 = {}}}));
  const auto version = got(store->directory()->mailbox(box))->credential.version;
  got(tests::deliver(*store, {.to = {box}, .octets = tests::make_message("before", 300)}));
  CHECK(error_of(tests::restore_mailbox(*store, "ann@example.test")) == Errc::exists);
  CHECK(error_of(tests::restore_mailbox(*store, "eve@example.test")) == Errc::not_found);
  CHECK_FALSE(got(store->directory()->removed_mailbox("ann@example.test")));
  got(tests::remove_mailbox(*store, "ann@example.test", false));
  got(tests::deliver(*store, {.to = {box}, .octets = tests::make_message("meanwhile", 300)}));
  CHECK(got(store->directory()->removed_mailbox("ann@example.test"))->removed_at > 0);
  CHECK(error_of(tests::rename_mailbox(*store, "ann@example.test", "eve@example.test")) == Errc::not_found);
  const auto alias = tests::put_alias(*store, {.address = "ann@example.test", .targets = {"b@example.test"}});
  REQUIRE(error_of(alias) == Errc::conflict);
  CHECK(alias.error().detail.find("mailbox restore ann@example.test") != std::string::npos);
  CHECK(alias.error().detail.find("mailbox remove --purge ann@example.test") != std::string::npos);
  store.reopen();
  got(tests::restore_mailbox(*store, "ann@example.test"));
  const auto back = got(store->directory()->mailbox("ann@example.test")).value();
  CHECK(back.number == box);
  CHECK(back.credential.version == version);
  CHECK(back.credential.password_hash == "h");
  CHECK(back.removed_at == 0);
  CHECK(got(store->peek(box)).messages == 2);
  got(tests::remove_mailbox(*store, "ann@example.test", true));
  CHECK(error_of(tests::restore_mailbox(*store, "ann@example.test")) == Errc::not_found);
  CHECK(tests::problems(*store) == "");
}

TEST_CASE("a list of all mailboxes names the removed ones") {
  tests::TestStore store(3);
  got(tests::remove_mailbox(*store, "u1@example.test", false));
  std::string names;
  const auto each = [&](const Mailbox& box) {
    names += box.address + (box.removed_at == 0 ? " " : " removed ");
    return true;
  };
  got(store->directory()->each_mailbox("example.test", each, {}, Which::all));
  CHECK(names == "postmaster@example.test u0@example.test u1@example.test removed u2@example.test ");
}

TEST_CASE("a mailbox under another name is the same mailbox, and who names it follows") {
  tests::TestStore store(2);
  const auto box = store.boxes()[0];
  got(tests::deliver(*store, {.to = {box}, .octets = tests::make_message("one", 300)}));
  got(tests::add_domain(*store, local("second.test")));
  got(tests::put_alias(*store, {.address = "team@second.test", .targets = {"u1@example.test", "u0@example.test"}}));
  got(tests::change_domain(*store, "second.test", {.catch_all = "u0@example.test"}));
  CHECK(error_of(tests::rename_mailbox(*store, "none@example.test", "x@example.test")) == Errc::not_found);
  CHECK(error_of(tests::rename_mailbox(*store, "u0@example.test", "u1@example.test")) == Errc::exists);
  CHECK(error_of(tests::rename_mailbox(*store, "u0@example.test", "team@second.test")) == Errc::exists);
  CHECK(error_of(tests::rename_mailbox(*store, "u0@example.test", "x@none.test")) == Errc::not_found);
  got(tests::add_mailbox(*store, "gone@second.test"));
  got(tests::remove_mailbox(*store, "gone@second.test", false));
  const auto taken = tests::rename_mailbox(*store, "u0@example.test", "gone@second.test");
  REQUIRE(error_of(taken) == Errc::conflict);
  CHECK(taken.error().detail.find("restore") != std::string::npos);

  const auto before = got(tests::read_message(*store, box, got(tests::entries(*store, box)).at(0)));
  // Somebody who reads it meanwhile goes on reading it.
  const auto lock = got(store->lock_maildrop(box));
  got(tests::rename_mailbox(*store, "u0@example.test", "ann@second.test"));
  CHECK_FALSE(got(store->directory()->mailbox("u0@example.test")));
  CHECK(got(store->directory()->mailbox(box))->address == "ann@second.test");
  CHECK(got(store->directory()->mailbox("ann@second.test"))->number == box);
  CHECK(got(store->directory()->alias("team@second.test"))->targets ==
        std::vector<std::string>{"u1@example.test", "ann@second.test"});
  CHECK(got(store->directory()->domain("second.test"))->catch_all == "ann@second.test");
  const auto entries = got(tests::entries(*store, box));
  REQUIRE(entries.size() == 1);
  CHECK(got(tests::read_message(*store, box, entries[0])) == before);
  // The old name is free, and nothing of the mailbox is under it.
  const auto fresh = got(tests::add_mailbox(*store, "u0@example.test"));
  CHECK(fresh != box);
  CHECK(got(store->peek(fresh)).messages == 0);
  store.reopen();
  CHECK(got(store->directory()->mailbox("ann@second.test"))->number == box);
  CHECK(tests::problems(*store) == "");
}

TEST_CASE("S95: the right to a remote domain's mail is the mailbox's, and no later owner's of its address") {
  tests::TestStore store(3);
  for (const auto* const name : {"far.test", "*.far.test"}) {
    Domain remote{.name = name, .kind = DomainKind::remote, .alias_of = {}};
    remote.remote.dequeue_accounts = {"u0@example.test", "u1@example.test"};
    got(tests::add_domain(*store, std::move(remote)));
  }
  const auto names = [&](const char* name) { return got(store->directory()->domain(name))->remote.dequeue_accounts; };
  using Names = std::vector<std::string>;
  got(tests::rename_mailbox(*store, "u0@example.test", "ann@example.test"));
  for (const auto* const name : {"far.test", "*.far.test"})
    CHECK(names(name) == Names{"ann@example.test", "u1@example.test"});
  got(tests::add_mailbox(*store, "u0@example.test"));
  CHECK(got(store->directory()->domains_dequeued_by("u0@example.test")).empty());
  // What can be restored keeps it.
  got(tests::remove_mailbox(*store, "u1@example.test", false));
  CHECK(names("far.test") == Names{"ann@example.test", "u1@example.test"});
  got(tests::restore_mailbox(*store, "u1@example.test"));
  got(tests::remove_mailbox(*store, "u1@example.test", true));
  got(tests::add_mailbox(*store, "u1@example.test"));
  for (const auto* const name : {"far.test", "*.far.test"}) CHECK(names(name) == Names{"ann@example.test"});
  got(tests::remove_mailbox(*store, "ann@example.test", false));
  CHECK(got(tests::purge_removed(*store, ~std::uint64_t{0})).mailboxes == Names{"ann@example.test"});
  CHECK(names("far.test").empty());
  CHECK(tests::problems(*store) == "");
}

TEST_CASE("removed mailboxes are purged once their time is over") {
  tests::TestStore store(4);
  std::vector<tests::Letter> letters(300, {.to = store.boxes(), .octets = tests::make_message("all", 150)});
  for (const auto& result : tests::deliver_together(*store, letters)) CHECK(result);
  for (const auto* address : {"u0@example.test", "u1@example.test", "u2@example.test"})
    got(tests::remove_mailbox(*store, address, false));
  const auto first = got(store->directory()->removed_mailbox("u0@example.test"))->removed_at;
  const auto last = got(store->directory()->removed_mailbox("u2@example.test"))->removed_at;
  CHECK(got(tests::purge_removed(*store, first - 1)).mailboxes.empty());
  std::optional<MaildropLock> reader = got(store->lock_maildrop(store.boxes()[1]));
  auto result = got(tests::purge_removed(*store, last - 1));
  CHECK(result.mailboxes.size() == 1);
  CHECK(result.busy == 1);
  CHECK_FALSE(got(store->directory()->removed_mailbox("u0@example.test")));
  CHECK(got(store->peek(store.boxes()[0])).messages == 0);
  CHECK(got(store->peek(store.boxes()[1])).messages == 300);
  reader.reset();
  got(tests::restore_mailbox(*store, "u2@example.test"));
  result = got(tests::purge_removed(*store, last));
  CHECK(result.mailboxes.size() == 1);
  CHECK(got(store->peek(store.boxes()[2])).messages == 300);
  CHECK(got(store->peek(store.boxes()[3])).messages == 300);
  CHECK(got(tests::add_mailbox(*store, "u0@example.test")) != store.boxes()[0]);
  CHECK(tests::problems(*store) == "");
}

TEST_CASE("mailboxes to be purged are found behind more than one page of others") {
  tests::TestStore store(0);
  for (int i = 0; i < 1200; ++i) got(tests::add_mailbox(*store, "p" + std::to_string(i) + "@example.test"));
  got(tests::add_mailbox(*store, "zz@example.test"));
  got(tests::remove_mailbox(*store, "p0@example.test", false));
  got(tests::remove_mailbox(*store, "zz@example.test", false));
  CHECK(got(tests::purge_removed(*store, ~std::uint64_t{0})).mailboxes ==
        std::vector<std::string>{"p0@example.test", "zz@example.test"});
}

TEST_CASE("where a mailbox's mail goes on to: limits, and nothing that leads back") {
  tests::TestStore store(3);
  const auto set = [&](const std::string& address, std::vector<std::string> to) {
    MailboxChange change;
    change.forward = std::move(to);
    return error_of(tests::change_mailbox(*store, address, change));
  };
  CHECK_FALSE(set("u0@example.test", {"x@far.test", "u1@example.test"}));
  CHECK(got(store->directory()->mailbox("u0@example.test"))->forward.size() == 2);
  CHECK(set("u0@example.test", {"u0@example.test"}) == Errc::conflict);
  CHECK(set("u1@example.test", {"u0@example.test"}) == Errc::conflict);
  got(tests::add_domain(*store, alias_domain("other.test", "example.test")));
  CHECK(set("u0@example.test", {"u0@other.test"}) == Errc::conflict);
  CHECK_FALSE(error_of(tests::put_alias(*store, {.address = "team@example.test", .targets = {"u0@example.test"}})));
  CHECK(set("u1@example.test", {"team@example.test"}) == Errc::conflict);
  CHECK_FALSE(set("u2@example.test", {"team@example.test"}));
  CHECK(error_of(tests::put_alias(*store, {.address = "team@example.test", .targets = {"u2@example.test"}})) ==
        Errc::conflict);
  CHECK(set("u1@example.test", std::vector<std::string>(forward_limit + 1, "x@far.test")) == Errc::conflict);
  CHECK(set("u1@example.test", {std::string(forward_octets_limit, 'x') + "@far.test"}) == Errc::conflict);
  CHECK_FALSE(set("u0@example.test", {}));
  CHECK_FALSE(set("u1@example.test", {"team@example.test"}));
}

TEST_CASE("a sender is answered once in a period, and a mailbox remembers so many and no more") {
  tests::TestStore store(2);
  const auto first = got(store->directory()->mailbox("u0@example.test"))->number;
  const auto second = got(store->directory()->mailbox("u1@example.test"))->number;
  constexpr std::chrono::seconds week{7 * 86400};
  constexpr std::uint64_t day = std::uint64_t{86400} * 1'000'000, start = 1000 * day;
  const auto note = [&](MailboxNumber box, const std::string& sender, std::uint64_t when) {
    return got(tests::note_answered(*store, box, sender, when, week));
  };
  CHECK_FALSE(note(first, "joe@far.test", start));  // it has nothing to say
  MailboxChange change;
  change.auto_reply.emplace(AutoReply{0, 0, "Away", "Back on Monday."});
  got(tests::change_mailbox(*store, "u0@example.test", change));
  got(tests::change_mailbox(*store, "u1@example.test", change));
  CHECK(note(first, "joe@far.test", start));
  CHECK_FALSE(note(first, "joe@far.test", start));
  CHECK_FALSE(note(first, "joe@far.test", start + 7 * day));
  CHECK(note(second, "joe@far.test", start));
  CHECK(note(first, "ann@far.test", start));
  store.reopen();
  CHECK_FALSE(note(first, "joe@far.test", start + 6 * day));
  CHECK(note(first, "joe@far.test", start + 7 * day + 1));
  for (std::size_t i = 1; i < answered_limit; ++i) CHECK(note(first, std::to_string(i), start + 8 * day));
  CHECK_FALSE(note(first, "one too many", start + 9 * day));
  CHECK(note(first, "one too many", start + 16 * day));
  // Another text is news to everybody.
  got(tests::change_mailbox(*store, "u0@example.test", change));
  CHECK(note(first, "joe@far.test", start + 16 * day));
  change.auto_reply.emplace(std::nullopt);
  got(tests::change_mailbox(*store, "u0@example.test", change));
  CHECK_FALSE(got(store->directory()->auto_reply(first)));
  CHECK_FALSE(got(store->directory()->mailbox("u0@example.test"))->auto_reply);
  CHECK_FALSE(note(first, "eve@far.test", start + 16 * day));
  change.auto_reply.emplace(AutoReply{0, 0, std::string(auto_reply_subject_limit + 1, 'x'), {}});
  CHECK(error_of(tests::change_mailbox(*store, "u0@example.test", change)) == Errc::conflict);
  change.auto_reply.emplace(AutoReply{0, 0, {}, std::string(auto_reply_text_limit + 1, 'x')});
  CHECK(error_of(tests::change_mailbox(*store, "u0@example.test", change)) == Errc::conflict);
  // It goes with the mailbox.
  got(tests::remove_mailbox(*store, "u1@example.test", true));
  CHECK_FALSE(got(store->directory()->auto_reply(second)));
}

TEST_CASE("who gets copies of a domain's mail: somebody, or elsewhere") {
  tests::TestStore store(1);
  // What marks them is nobody's.
  const std::string mark = std::string{copies_local_part} + "@example.test";
  CHECK(tests::add_mailbox(*store, mark).error().code == Errc::conflict);
  CHECK(error_of(tests::put_alias(*store, {mark, {"u0@example.test"}})) == Errc::conflict);
  const auto set = [&](const std::string& address) {
    DomainChange change;
    change.journal = address;
    return error_of(tests::change_domain(*store, "example.test", change));
  };
  CHECK(set("nobody@example.test") == Errc::not_found);
  CHECK_FALSE(set("u0@example.test"));
  CHECK(got(store->directory()->domain("example.test"))->journal == "u0@example.test");
  CHECK_FALSE(set("archive@far.test"));
  CHECK_FALSE(set(""));
  got(tests::add_domain(*store, alias_domain("other.test", "example.test")));
  DomainChange change;
  change.journal = "u0@example.test";
  CHECK(error_of(tests::change_domain(*store, "other.test", change)) == Errc::conflict);
}

TEST_CASE("the store's secrets differ by purpose and by store, and stay") {
  tests::TestStore store(0);
  tests::TestStore other(0);
  const auto secret = store->secret("one");
  CHECK(secret.size() == 32);
  CHECK(secret != store->secret("two"));
  CHECK(secret != other->secret("one"));
  store.reopen();
  CHECK(secret == store->secret("one"));
}
