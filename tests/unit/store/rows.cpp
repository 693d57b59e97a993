#include "mailstore/rows.hpp"

#include <functional>

#include "expect.hpp"

using namespace mailstore;
using tests::failure_of;

namespace {

template <class Row>
std::string encoded(const Row& row) {
  std::string octets;
  encode(row, octets);
  return octets;
}

/// A value of the wrong size or of another version is `corrupt`, never a crash.
void check_damage(const std::string& value, const std::function<void(std::string_view)>& decode) {
  CHECK_FALSE(failure_of([&] { decode(value); }));
  for (std::size_t size = 0; size < value.size(); ++size) {
    CAPTURE(size);
    CHECK(failure_of([&] { decode(std::string_view(value).substr(0, size)); }) == Errc::corrupt);
  }
  CHECK(failure_of([&] { decode(value + '\0'); }) == Errc::corrupt);
  for (const char version : {'\0', '\x63', '\xFF'}) {
    auto changed = value;
    changed[0] = version;
    CHECK(failure_of([&] { decode(changed); }) == Errc::corrupt);
  }
  // Any octet may be anything: at worst another value comes out.
  for (std::size_t at = 0; at < value.size(); ++at) {
    for (const int flip : {1, 2, 0x80, 0xFF}) {
      auto changed = value;
      changed[at] = static_cast<char>(changed[at] ^ flip);
      failure_of([&] { decode(changed); });
    }
  }
}

}  // namespace

TEST_CASE("octet order of keys is number order") {
  const auto key = [](std::uint32_t mailbox, std::uint64_t id) {
    return std::string(std::string_view(MaildropKey(MailboxNumber{mailbox}, id)));
  };
  CHECK(key(1, 2) < key(1, 3));
  CHECK(key(1, 255) < key(1, 256));
  CHECK(key(1, ~std::uint64_t{1}) < key(1, totals_id));
  CHECK(key(1, totals_id) < key(2, 0));
  CHECK(key(255, 0) < key(256, 0));
  CHECK(std::string_view(NumberKey(255)) < std::string_view(NumberKey(256)));
  CHECK(std::string_view(MailboxKey(MailboxNumber{255})) < std::string_view(MailboxKey(MailboxNumber{256})));
  CHECK(from_big_endian<std::uint32_t>(MaildropKey(MailboxNumber{0x01020304}, 9).octets) == 0x01020304);
  CHECK(from_big_endian<std::uint64_t>(NumberKey(0x0102030405060708).octets) == 0x0102030405060708);
}

TEST_CASE("addresses of a domain lie together") {
  CHECK(address_key("ann@example.test") == std::string("example.test\0ann", 16));
  CHECK(address_key("\"a@b\"@example.test") == std::string("example.test\0\"a@b\"", 18));
  for (const auto* address : {"ann@example.test", "\"a@b\"@example.test", "@example.test", "ann@"}) {
    CHECK(address_of(address_key(address)) == address);
  }
  CHECK(address_key("ann@a.test") < address_key("bob@a.test"));
  CHECK(address_key("zoe@a.test") < address_key("ann@b.test"));
  CHECK(address_key("zoe@a") < address_key("ann@a.test"));
}

TEST_CASE("a message's row") {
  const MessageRow row{.segment = 1,
                       .head_offset = 2,
                       .body_offset = 3,
                       .stored_octets = 4,
                       .head_octets = 5,
                       .owners = 6,
                       .stuffed = true};
  const auto back = decode_message(encoded(row));
  CHECK(back.segment == 1);
  CHECK(back.head_offset == 2);
  CHECK(back.body_offset == 3);
  CHECK(back.stored_octets == 4);
  CHECK(back.head_octets == 5);
  CHECK(back.owners == 6);
  CHECK(back.stuffed);
  check_damage(encoded(row), [](std::string_view value) { decode_message(value); });
}

TEST_CASE("a maildrop's entry and totals") {
  const Entry entry{.id = MessageId{9}, .octets = 1ULL << 40U, .header_octets = 300, .ordinal = 3, .arrival = 17};
  const auto back = decode_entry(MessageId{9}, encoded(entry));
  CHECK(back.id == MessageId{9});
  CHECK(back.octets == 1ULL << 40U);
  CHECK(back.header_octets == 300);
  CHECK(back.ordinal == 3);
  CHECK(back.arrival == 17);
  CHECK(back.retrieved == 0);
  // Rows of messages that nobody noted are what they were before there was anything to note.
  CHECK(encoded(entry)[0] == '\1');
  CHECK(encoded(entry).size() == 24);
  check_damage(encoded(entry), [](std::string_view value) { decode_entry(MessageId{9}, value); });

  auto noted = entry;
  noted.retrieved = 99;
  const auto noted_back = decode_entry(MessageId{9}, encoded(noted));
  CHECK(noted_back.retrieved == 99);
  CHECK(noted_back.arrival == 17);
  check_damage(encoded(noted), [](std::string_view value) { decode_entry(MessageId{9}, value); });

  const Totals totals{.messages = 1, .octets = 2, .arrivals = 3};
  const auto totals_back = decode_totals(encoded(totals));
  CHECK(totals_back.messages == 1);
  CHECK(totals_back.octets == 2);
  CHECK(totals_back.arrivals == 3);
  check_damage(encoded(totals), [](std::string_view value) { decode_totals(value); });
}

TEST_CASE("a segment's row") {
  SegmentRow row{.state = SegmentState::sealed,
                 .streamed = true,
                 .durable = 1,
                 .live_records = 2,
                 .live_octets = 3,
                 .last_batch = 4,
                 .unproven = {}};
  row.unproven.push_back({.id = MessageId{5}, .owners = {MailboxNumber{6}, MailboxNumber{7}}});
  row.unproven.push_back({.id = MessageId{8}, .owners = {}});
  const auto back = decode_segment(encoded(row));
  CHECK(back.state == SegmentState::sealed);
  CHECK(back.streamed);
  CHECK(back.durable == 1);
  CHECK(back.live_records == 2);
  CHECK(back.live_octets == 3);
  CHECK(back.last_batch == 4);
  REQUIRE(back.unproven.size() == 2);
  CHECK(back.unproven[0].id == MessageId{5});
  CHECK(back.unproven[0].owners == std::vector{MailboxNumber{6}, MailboxNumber{7}});
  CHECK(back.unproven[1].owners.empty());
  check_damage(encoded(row), [](std::string_view value) { decode_segment(value); });
}

TEST_CASE("rows of the directory") {
  const Domain domain{.name = "example.test",
                      .kind = DomainKind::alias,
                      .alias_of = "other.test",
                      .locked = true,
                      .created = 99,
                      .catch_all = "rest@example.test",
                      .quota_octets = 77,
                      .plus_addressing = false};
  const auto domain_back = decode_domain("example.test", encoded(domain));
  CHECK(domain_back.name == "example.test");
  CHECK(domain_back.kind == DomainKind::alias);
  CHECK(domain_back.alias_of == "other.test");
  CHECK(domain_back.locked);
  CHECK(domain_back.created == 99);
  CHECK(domain_back.catch_all == "rest@example.test");
  CHECK(domain_back.quota_octets == 77);
  CHECK_FALSE(domain_back.plus_addressing);
  auto copied = domain;
  copied.journal = "archive@far.test";
  CHECK(decode_domain("example.test", encoded(copied)).journal == "archive@far.test");
  check_damage(encoded(domain), [](std::string_view value) { decode_domain("example.test", value); });
  auto unknown_kind = encoded(domain);
  unknown_kind[1] = '\x63';
  CHECK(failure_of([&] { decode_domain("example.test", unknown_kind); }) == Errc::corrupt);

  // S93-S95: who may fetch its mail.
  Domain remote{.name = "far.test", .kind = DomainKind::remote};
  remote.remote = {.allow_relay = true,
                   .no_esmtp = true,
                   .route = "relay.test:26",
                   .security = Security::tls,
                   .username = "us",
                   .password = "secret",
                   .rate = 3,
                   .connections = 4,
                   .hold = true,
                   .dequeue_accounts = {"ann@example.test", "bob@example.test"}};
  CHECK(decode_domain("far.test", encoded(remote)).remote == remote.remote);
  check_damage(encoded(remote), [](std::string_view value) { decode_domain("far.test", value); });
  Domain fetching{.name = "example.test"};
  fetching.fetch = {.from = "provider.test:366",
                    .by = FetchBy::atrn,
                    .every = 900,
                    .security = Security::verify,
                    .username = "us",
                    .password = "secret"};
  CHECK(decode_domain("example.test", encoded(fetching)).fetch == fetching.fetch);
  check_damage(encoded(fetching), [](std::string_view value) { decode_domain("example.test", value); });

  MailboxRow row;
  row.mailbox = {.number = MailboxNumber{3},
                 .address = "ann@example.test",
                 .display = "Ann@example.test",
                 .locked = true,
                 .quota_octets = 1000,
                 .quota_messages = 10,
                 .created = 98,
                 .credential = {.version = 4, .password_hash = "$argon2id$", .scram_sha256 = "SCRAM-SHA-256$"},
                 .apop_secret = "tanstaaf",
                 .send_as = {"boss@example.test", "@other.test"},
                 .forward = {"x@far.test", "bob@example.test"},
                 .keep_copy = true,
                 .auto_reply = true};
  row.removed = true;
  row.removed_at = 97;
  const auto key = address_key("ann@example.test");
  const auto back = decode_mailbox(key, encoded(row));
  CHECK(back.mailbox.number == MailboxNumber{3});
  CHECK(back.mailbox.address == "ann@example.test");
  CHECK(back.mailbox.display == "Ann@example.test");
  CHECK(back.mailbox.locked);
  CHECK(back.mailbox.quota_octets == 1000);
  CHECK(back.mailbox.quota_messages == 10);
  CHECK(back.mailbox.created == 98);
  CHECK(back.mailbox.credential.version == 4);
  CHECK(back.mailbox.credential.password_hash == "$argon2id$");
  CHECK(back.mailbox.credential.scram_sha256 == "SCRAM-SHA-256$");
  CHECK(back.mailbox.apop_secret == "tanstaaf");
  CHECK(back.mailbox.send_as == std::vector<std::string>{"boss@example.test", "@other.test"});
  CHECK(back.mailbox.forward == std::vector<std::string>{"x@far.test", "bob@example.test"});
  CHECK(back.mailbox.keep_copy);
  CHECK(back.mailbox.auto_reply);
  CHECK(back.removed);
  CHECK(back.removed_at == 97);
  check_damage(encoded(row), [&](std::string_view value) { decode_mailbox(key, value); });
  row.mailbox.quota_octets = 0;
  CHECK(decode_mailbox(key, encoded(row)).mailbox.quota_octets == 0);
  row.mailbox.quota_octets.reset();
  CHECK_FALSE(decode_mailbox(key, encoded(row)).mailbox.quota_octets);

  const Alias alias{.address = "team@example.test", .targets = {"ann@example.test", "bob@far.test", ""}};
  const auto alias_back = decode_alias(address_key(alias.address), encoded(alias));
  CHECK(alias_back.address == alias.address);
  CHECK(alias_back.targets == alias.targets);
  CHECK(alias_back.owner.empty());
  CHECK(encoded(alias)[0] == '\1');  // as it was before there were owners
  check_damage(encoded(alias), [&](std::string_view value) { decode_alias(address_key("team@example.test"), value); });
  auto group = alias;
  group.owner = "ann@example.test";
  CHECK(decode_alias(address_key(alias.address), encoded(group)).owner == "ann@example.test");
  check_damage(encoded(group), [&](std::string_view value) { decode_alias(address_key("team@example.test"), value); });

  const AutoReply reply{.from = 5, .until = 6, .subject = "Away", .text = "Back on Monday.\n"};
  CHECK(decode_auto_reply(encoded(reply)) == reply);
  check_damage(encoded(reply), [](std::string_view value) { decode_auto_reply(value); });
  std::string answered;
  encode_answered(1234, answered);
  CHECK(decode_answered(answered) == 1234);
  check_damage(answered, [](std::string_view value) { decode_answered(value); });
}

TEST_CASE("rows of the directory's earlier versions are read, with the defaults of what came later") {
  std::string domain;
  Encoder(domain)
      .number(std::uint8_t{1})
      .number(std::uint8_t{1})
      .number(std::uint8_t{1})
      .number(std::uint64_t{99})
      .text("");
  const auto read = decode_domain("example.test", domain);
  CHECK(read.kind == DomainKind::local);
  CHECK(read.locked);
  CHECK(read.created == 99);
  CHECK(read.catch_all.empty());
  CHECK(read.quota_octets == 0);
  CHECK(read.plus_addressing);
  check_damage(domain, [](std::string_view value) { decode_domain("example.test", value); });

  std::string remote;
  Encoder(remote).number(std::uint8_t{3}).number(static_cast<std::uint8_t>(DomainKind::remote)).number(std::uint8_t{0});
  Encoder(remote).number(std::uint64_t{99}).text("").number(std::uint64_t{0}).text("");
  Encoder(remote).number(std::uint8_t{1}).number(std::uint8_t{0}).text("dns").text("").text("");
  Encoder(remote).number(std::uint32_t{0}).number(std::uint32_t{7});
  const auto read_remote = decode_domain("far.test", remote);
  CHECK(read_remote.remote.allow_relay);
  CHECK(read_remote.remote.connections == 7);
  CHECK_FALSE(read_remote.remote.hold);
  CHECK(read_remote.remote.dequeue_accounts.empty());
  check_damage(remote, [](std::string_view value) { decode_domain("far.test", value); });

  const auto old_mailbox = [](std::uint64_t quota, std::uint8_t version = 1) {
    std::string out;
    Encoder to(out);
    to.number(version).number(std::uint8_t{2}).number(std::uint32_t{3});
    to.number(std::uint64_t{98}).number(std::uint64_t{97}).number(quota).number(std::uint64_t{10});
    to.number(std::uint64_t{4}).text("Ann@example.test").text("h").text("s");
    return out;
  };
  const auto key = address_key("ann@example.test");
  const auto box = decode_mailbox(key, old_mailbox(0));
  CHECK(box.removed);
  CHECK(box.removed_at == 97);
  CHECK_FALSE(box.mailbox.quota_octets);
  CHECK(box.mailbox.quota_messages == 10);
  CHECK(box.mailbox.credential.scram_sha256 == "s");
  CHECK(decode_mailbox(key, old_mailbox(1000)).mailbox.quota_octets == 1000);
  CHECK_FALSE(decode_mailbox(key, old_mailbox(1000, 2)).mailbox.quota_octets);  // what its flag says
  CHECK(decode_mailbox(key, old_mailbox(0, 2)).mailbox.apop_secret.empty());
  CHECK(decode_mailbox(key, old_mailbox(0, 2)).mailbox.forward.empty());
  check_damage(old_mailbox(5), [&](std::string_view value) { decode_mailbox(key, value); });
}
