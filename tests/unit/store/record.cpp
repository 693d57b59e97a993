#include "mailstore/record.hpp"

#include "expect.hpp"
#include "mailstore/codec.hpp"

using namespace mailstore;
using tests::failure_of;

namespace {

constexpr RecordKey key{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
constexpr RecordKey other_key{16, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 1};

Envelope full_envelope() {
  Envelope envelope{.reverse_path = "ann@far.test",
                    .authenticated = "ann@example.test",
                    .server = "mx",
                    .envelope_id = "QQ314159",
                    .return_content = 2,
                    .eight_bit = true,
                    .utf8 = true,
                    .owners = {}};
  envelope.owners.push_back({.mailbox = MailboxNumber{7},
                             .delivered_to = "bob@example.test",
                             .original_recipient = "rfc822;Bob@example.test",
                             .unique_id = "old-uidl",
                             .notify = 5});
  envelope.owners.push_back({.mailbox = MailboxNumber{0xFFFFFFFE},
                             .delivered_to = "eve@example.test",
                             .original_recipient = {},
                             .unique_id = {}});
  return envelope;
}

std::string encoded(const Envelope& envelope) {
  std::string octets;
  encode_envelope(envelope, octets);
  return octets;
}

RecordHeader some_header() {
  return {.id = MessageId{0x123456789ABCDEF0},
          .segment = 42,
          .offset = 64,
          .body_offset = 400,
          .stored_octets = 5000,
          .octets = 4990,
          .header_octets = 300,
          .body_checksum = 0xFEEDFACE,
          .batch = 9,
          .last_batch = 8,
          .stuffed = true};
}

}  // namespace

TEST_CASE("an envelope comes back as it was") {
  const auto envelope = full_envelope();
  const auto back = decode_envelope(encoded(envelope));
  CHECK(back.reverse_path == envelope.reverse_path);
  CHECK(back.authenticated == envelope.authenticated);
  CHECK(back.server == envelope.server);
  CHECK(back.envelope_id == envelope.envelope_id);
  CHECK(back.return_content == envelope.return_content);
  CHECK(back.eight_bit);
  CHECK(back.utf8);
  REQUIRE(back.owners.size() == 2);
  CHECK(back.owners[0].mailbox == MailboxNumber{7});
  CHECK(back.owners[0].delivered_to == "bob@example.test");
  CHECK(back.owners[0].original_recipient == "rfc822;Bob@example.test");
  CHECK(back.owners[0].unique_id == "old-uidl");
  CHECK(back.owners[0].notify == 5);
  CHECK(back.owners[1].mailbox == MailboxNumber{0xFFFFFFFE});

  const auto empty = decode_envelope(encoded({}));
  CHECK(empty.reverse_path.empty());
  CHECK(empty.owners.empty());
  CHECK_FALSE(empty.eight_bit);
}

TEST_CASE("an envelope says of each remote recipient who of ours sends it on") {
  auto envelope = full_envelope();
  envelope.remotes.push_back({.address = "x@far.test", .original_recipient = "rfc822;y@z", .notify = 4});
  const auto plain = encoded(envelope);
  CHECK(plain[0] == '\1');  // as it was before anything was sent on
  envelope.remotes.push_back(
      {.address = "y@far.test", .original_recipient = {}, .sent_on_by = "ann@example.test", .returns_to = "b@c"});
  envelope.remotes.push_back({.address = "z@far.test", .original_recipient = {}, .looped = true});
  const auto octets = encoded(envelope);
  CHECK(octets[0] == '\2');
  const auto back = decode_envelope(octets);
  REQUIRE(back.remotes.size() == 3);
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(back.remotes[i].address == envelope.remotes[i].address);
    CHECK(back.remotes[i].original_recipient == envelope.remotes[i].original_recipient);
    CHECK(back.remotes[i].notify == envelope.remotes[i].notify);
    CHECK(back.remotes[i].sent_on_by == envelope.remotes[i].sent_on_by);
    CHECK(back.remotes[i].returns_to == envelope.remotes[i].returns_to);
    CHECK(back.remotes[i].looped == envelope.remotes[i].looped);
  }
  CHECK(owner_lines(octets, 1).delivered_to == "eve@example.test");
  for (std::size_t size = 0; size < octets.size(); ++size)
    CHECK(failure_of([&] { decode_envelope(std::string_view(octets).substr(0, size)); }) == Errc::corrupt);
}

TEST_CASE("an envelope cut anywhere, longer than it says or of another version is corrupt") {
  const auto octets = encoded(full_envelope());
  for (std::size_t size = 0; size < octets.size(); ++size) {
    CAPTURE(size);
    CHECK(failure_of([&] { decode_envelope(std::string_view(octets).substr(0, size)); }) == Errc::corrupt);
  }
  CHECK(failure_of([&] { decode_envelope(octets + '\0'); }) == Errc::corrupt);
  for (const char version : {'\0', '\3', '\xFF'}) {
    auto changed = octets;
    changed[0] = version;
    CHECK(failure_of([&] { decode_envelope(changed); }) == Errc::corrupt);
    CHECK(failure_of([&] { owner_lines(changed, 0); }) == Errc::corrupt);
  }
}

TEST_CASE("an owner's lines are found without decoding the rest") {
  const auto octets = encoded(full_envelope());
  const auto first = owner_lines(octets, 0);
  CHECK(first.reverse_path == "ann@far.test");
  CHECK(first.delivered_to == "bob@example.test");
  CHECK(first.unique_id == "old-uidl");
  const auto second = owner_lines(octets, 1);
  CHECK(second.delivered_to == "eve@example.test");
  CHECK(second.unique_id.empty());
  CHECK(failure_of([&] { owner_lines(octets, 2); }) == Errc::corrupt);
  CHECK(failure_of([&] { owner_lines(octets, 0xFFFF); }) == Errc::corrupt);
  // Behind the last owner stands only the count of remote recipients.
  for (std::size_t size = 0; size + 4 < octets.size(); ++size) {
    CAPTURE(size);
    CHECK(failure_of([&] { owner_lines(std::string_view(octets).substr(0, size), 1); }) == Errc::corrupt);
  }
}

TEST_CASE("a record's head comes back as it was") {
  const auto envelope = encoded(full_envelope());
  std::string head = "before";
  encode_head(some_header(), envelope, key, head);
  head.erase(0, 6);
  REQUIRE(head.size() == record_header_octets + envelope.size());
  CHECK(head_octets(head) == head.size());
  const auto back = decode_head(head + "what follows", key);
  REQUIRE(back);
  const auto wanted = some_header();
  CHECK(back->id == wanted.id);
  CHECK(back->segment == wanted.segment);
  CHECK(back->offset == wanted.offset);
  CHECK(back->body_offset == wanted.body_offset);
  CHECK(back->stored_octets == wanted.stored_octets);
  CHECK(back->octets == wanted.octets);
  CHECK(back->header_octets == wanted.header_octets);
  CHECK(back->body_checksum == wanted.body_checksum);
  CHECK(back->batch == wanted.batch);
  CHECK(back->last_batch == wanted.last_batch);
  CHECK(back->envelope_octets == envelope.size());
  CHECK(back->stuffed);
}

TEST_CASE("a head with any octet changed, or cut anywhere, is no record") {
  std::string head;
  encode_head(some_header(), encoded(full_envelope()), key, head);
  for (std::size_t at = 0; at < head.size(); ++at) {
    CAPTURE(at);
    CHECK_FALSE(decode_head(std::string_view(head).substr(0, at), key));
    for (const int flip : {1, 128}) {
      auto changed = head;
      changed[at] = static_cast<char>(changed[at] ^ flip);
      CHECK_FALSE(decode_head(changed, key));
    }
  }
}

TEST_CASE("a record written with another store's key is none: no message can contain one") {
  std::string forged;
  encode_head(some_header(), encoded(full_envelope()), other_key, forged);
  CHECK_FALSE(decode_head(forged, key));
  CHECK(decode_head(forged, other_key));
  // A record of this very store, sent back in a message, is still the record of another place: the reader compares.
  std::string own;
  encode_head(some_header(), encoded(full_envelope()), key, own);
  CHECK(decode_head(own, key)->offset == some_header().offset);
}

TEST_CASE("a damaged envelope length asks for no memory") {
  std::string head;
  encode_head(some_header(), encoded(full_envelope()), key, head);
  for (std::size_t i = 80; i < 84; ++i) head[i] = '\xFF';
  CHECK_FALSE(head_octets(head));
  CHECK_FALSE(decode_head(head, key));
  CHECK_FALSE(head_octets(std::string_view(head).substr(0, record_header_octets - 1)));
}

TEST_CASE("segment headers and footers come back; changed or cut ones do not") {
  std::string header;
  encode_segment_header({.number = 77, .store = 0xABCDEF, .streamed = true}, key, header);
  REQUIRE(header.size() == segment_header_octets);
  const auto back = decode_segment_header(header, key);
  REQUIRE(back);
  CHECK(back->number == 77);
  CHECK(back->store == 0xABCDEF);
  CHECK(back->streamed);
  CHECK_FALSE(decode_segment_header(header, other_key));
  std::string footer = "0123456789";
  encode_segment_footer(123456, key, footer);
  CHECK(decode_segment_footer(footer, key) == 123456);
  CHECK_FALSE(decode_segment_footer(footer, other_key));
  for (std::size_t at = 0; at < header.size(); ++at) {
    CAPTURE(at);
    CHECK_FALSE(decode_segment_header(std::string_view(header).substr(0, at), key));
    auto changed = header;
    changed[at] = static_cast<char>(changed[at] ^ 4);
    CHECK_FALSE(decode_segment_header(changed, key));
  }
  for (std::size_t at = footer.size() - segment_footer_octets; at < footer.size(); ++at) {
    CAPTURE(at);
    auto changed = footer;
    changed[at] = static_cast<char>(changed[at] ^ 4);
    CHECK_FALSE(decode_segment_footer(changed, key));
    CHECK_FALSE(decode_segment_footer(std::string_view(footer).substr(0, at), key));
  }
}

TEST_CASE("the owner's lines are as long as is said") {
  struct Row {
    std::string from, to, want;
  };
  const Row rows[] = {
      {"a@b", "c@d", "Return-Path: <a@b>\r\nDelivered-To: c@d\r\n"},
      {"", "c@d", "Return-Path: <>\r\nDelivered-To: c@d\r\n"},
  };
  for (const auto& row : rows) {
    CHECK(front_lines(row.from, row.to) == row.want);
    CHECK(front_octets(row.from, row.to) == row.want.size());
  }
}
