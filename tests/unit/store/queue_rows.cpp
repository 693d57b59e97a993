#include "mailstore/queue_rows.hpp"

#include <functional>

#include "expect.hpp"

using namespace mailstore;
using std::chrono::microseconds;
using tests::failure_of;

namespace {

template <class Row>
std::string encoded(const Row& row) {
  std::string octets;
  encode(row, octets);
  return octets;
}

void check_damage(const std::string& value, const std::function<void(std::string_view)>& decode) {
  CHECK_FALSE(failure_of([&] { decode(value); }));
  for (std::size_t size = 0; size < value.size(); ++size)
    CHECK(failure_of([&] { decode(std::string_view(value).substr(0, size)); }) == Errc::corrupt);
  CHECK(failure_of([&] { decode(value + '\0'); }) == Errc::corrupt);
  for (const char version : {'\0', '\2', '\xFF'}) {
    auto changed = value;
    changed[0] = version;
    CHECK(failure_of([&] { decode(changed); }) == Errc::corrupt);
  }
}

const Attempt attempt{.at = Time{microseconds{1'700'000'000'000'007}},
                      .answer = {.code = 451, .enhanced = "4.7.1", .text = "greylisted, come back"},
                      .peer = "mx.far.test[192.0.2.1]:25",
                      .tls = "TLSv1.3 verified"};

QueuedRecipient recipient() {
  return {.name = {"far.test", MessageId{77}, 3},
          .address = "bob@far.test",
          .reverse_path = "ann@example.test",
          .server = "mx",
          .octets = 4096,
          .notify = notify_failure | notify_delay,
          .state = QueueState::held,
          .attempts = 5,
          .due = Time{microseconds{1'700'000'000'000'000}},
          .last = attempt,
          .delay_noticed = true,
          .reroute = "[192.0.2.9]:2525",
          .reason = "root: looked at",
          .since = Time{microseconds{9}}};
}

std::string longest(std::size_t size) {
  return std::string(size, 'x');
}

}  // namespace

TEST_CASE("keys of the queue lie by domain, then by age") {
  const auto key = [](const char* domain, std::uint64_t id, std::uint16_t ordinal) {
    return queue_key({domain, MessageId{id}, ordinal});
  };
  CHECK(key("a.test", 1, 0) < key("a.test", 1, 1));
  CHECK(key("a.test", 1, 255) < key("a.test", 1, 256));
  CHECK(key("a.test", 255, 9) < key("a.test", 256, 0));
  CHECK(key("a.test", ~std::uint64_t{0}, 0xFFFF) < key("b.test", 0, 0));
  CHECK(key("a.test", ~std::uint64_t{0}, 0xFFFF) < key("a.test.more", 0, 0));
  const QueueName name{"far.test", MessageId{0x0102030405060708}, 0x0A0B};
  CHECK(parse_queue_key(queue_key(name)) == name);
  CHECK(parse_queue_key(queue_key({"", MessageId{}, 0})) == QueueName{});
  // An id may contain the octet that ends the domain.
  const QueueName zeros{"z.test", MessageId{0x0100000000000000}, 0};
  CHECK(parse_queue_key(queue_key(zeros)) == zeros);
  for (const auto& bad : {std::string(), std::string("far.test"), queue_key(name) + "x", queue_key(name).substr(1, 18)})
    CHECK(failure_of([&] { parse_queue_key(bad); }).value_or(Errc::corrupt) == Errc::corrupt);
  CHECK(failure_of([] { parse_queue_key("far.test"); }) == Errc::corrupt);
}

TEST_CASE("keys of ids, due times and of what left") {
  CHECK(std::string_view(QueueIdKey(MessageId{1}, 0xFFFF)) < std::string_view(QueueIdKey(MessageId{2}, 0)));
  CHECK(parse_queue_id_key(QueueIdKey(MessageId{7}, 300)) == QueueId{MessageId{7}, 300});
  CHECK(failure_of([] { parse_queue_id_key("short"); }) == Errc::corrupt);

  const DuePlace early{.due = bounce_time, .id = MessageId{9}, .ordinal = 1};
  const DuePlace late{.due = Time{microseconds{256}}, .id = MessageId{1}, .ordinal = 0};
  CHECK(queue_due_key("a.test", early) < queue_due_key("a.test", late));
  CHECK(queue_due_key("a.test", early).starts_with(queue_prefix("a.test")));
  const auto back = parse_queue_due_key("a.test", queue_due_key("a.test", late));
  CHECK(back.due == late.due);
  CHECK(back.id == late.id);
  CHECK(failure_of([&] { parse_queue_due_key("b", queue_due_key("a.test", late)); }) == Errc::corrupt);

  const DonePlace place{.at = Time{microseconds{255}}, .id = MessageId{3}, .ordinal = 2};
  CHECK(done_key(place) < done_key({.at = Time{microseconds{256}}, .id = MessageId{0}, .ordinal = 0}));
  const auto done = parse_done_key(done_key(place));
  CHECK(done.at == place.at);
  CHECK(done.ordinal == 2);
  CHECK(failure_of([] { parse_done_key(""); }) == Errc::corrupt);
}

TEST_CASE("a recipient in the queue comes back as it was") {
  const auto row = recipient();
  const auto value = encoded(row);
  const auto back = decode_queued(row.name, value);
  CHECK(encoded(back) == value);
  CHECK(back.name == row.name);
  CHECK(back.address == row.address);
  CHECK(back.reverse_path == row.reverse_path);
  CHECK(back.server == row.server);
  CHECK(back.octets == 4096);
  CHECK(back.notify == row.notify);
  CHECK(back.state == QueueState::held);
  CHECK(back.attempts == 5);
  CHECK(back.due == row.due);
  CHECK(back.last == attempt);
  CHECK(back.delay_noticed);
  CHECK(back.reroute == row.reroute);
  CHECK(back.reason == row.reason);
  CHECK(back.since == row.since);
  check_damage(value, [&](std::string_view octets) { decode_queued(row.name, octets); });
  auto unknown = value;
  unknown[1] = 4;
  CHECK(failure_of([&] { decode_queued(row.name, unknown); }) == Errc::corrupt);
}

TEST_CASE("a domain of the queue, what left and the queue itself come back as they were") {
  const QueueDomain domain{.name = "far.test",
                           .waiting = 5,
                           .held = 2,
                           .bounces = 1,
                           .due_alone = 3,
                           .next_round = Time{microseconds{50}},
                           .failed_rounds = 4,
                           .first_failure = Time{microseconds{40}},
                           .last = attempt,
                           .suspended = true,
                           .reason = "bob: they asked",
                           .since = Time{microseconds{45}},
                           .changed = 99};
  const auto value = encoded(domain);
  const auto back = decode_queue_domain("far.test", value);
  CHECK(encoded(back) == value);
  CHECK(back.name == "far.test");
  CHECK(back.waiting == 5);
  CHECK(back.due_alone == 3);
  CHECK(back.suspended);
  CHECK(back.last == attempt);
  CHECK(back.changed == 99);
  check_damage(value, [](std::string_view octets) { decode_queue_domain("far.test", octets); });

  const DonePlace place{.at = Time{microseconds{70}}, .id = MessageId{7}, .ordinal = 2};
  const DoneRecipient done{.at = place.at,
                           .name = {"far.test", place.id, 2},
                           .address = "bob@far.test",
                           .reverse_path = "ann@example.test",
                           .server = "mx",
                           .outcome = QueueOutcome::failed,
                           .attempts = 3,
                           .last = attempt,
                           .successor = MessageId{8}};
  const auto left = encoded(done);
  const auto read = decode_done(place, left);
  CHECK(read.name == done.name);
  CHECK(read.outcome == QueueOutcome::failed);
  CHECK(read.successor == MessageId{8});
  CHECK(read.last == attempt);
  check_damage(left, [&](std::string_view octets) { decode_done(place, octets); });
  auto unknown = left;
  unknown[1] = 6;
  CHECK(failure_of([&] { decode_done(place, unknown); }) == Errc::corrupt);

  const QueueStatus status{.held = true, .reason = "rebuilt", .since = Time{microseconds{3}}};
  const auto about = encoded(status);
  CHECK(decode_queue_status(about).held);
  CHECK(decode_queue_status(about).reason == "rebuilt");
  check_damage(about, [](std::string_view octets) { decode_queue_status(octets); });
}

TEST_CASE("no row of the queue is longer than a page of the index bears") {
  auto row = recipient();
  row.address = longest(queue_address_limit);
  for (auto* text : {&row.reverse_path, &row.server, &row.reroute, &row.reason, &row.last.answer.enhanced,
                     &row.last.answer.text, &row.last.peer, &row.last.tls})
    *text = longest(5000);
  CHECK(encoded(row).size() < 2000);
  CHECK(decode_queued(row.name, encoded(row)).last.answer.text == longest(400));
  QueueDomain domain{.last = row.last, .reason = longest(5000)};
  CHECK(encoded(domain).size() < 2000);
  const DoneRecipient done{
      .address = row.address, .reverse_path = row.reverse_path, .server = row.server, .last = row.last};
  CHECK(encoded(done).size() < 2000);
  // Cut between characters.
  row.last.answer.text = longest(399) + "\xC3\xA9";
  CHECK(decode_queued(row.name, encoded(row)).last.answer.text == longest(399));
}

TEST_CASE("what can be queued") {
  struct {
    std::string address;
    bool can;
    const char* why;
  } const cases[] = {
      {"bob@far.test", true, "an address"},
      {"bob@[192.0.2.1]", true, "an address literal is a domain of its own"},
      {"\"a@b\"@far.test", true, "the last @ divides"},
      {"bob", false, "no domain"},
      {"bob@", false, "an empty domain"},
      {longest(60) + "@" + longest(255), true, "as long as it may be"},
      {longest(60) + "@" + longest(256), false, "a key has no room for the domain"},
      {longest(65) + "@" + longest(255), false, "a row has no room for the address"},
      {std::string("bob@far\0.test", 13), false, "what ends a domain in a key"},
  };
  for (const auto& one : cases) {
    CAPTURE(one.why);
    CHECK(can_be_queued(one.address) == one.can);
  }
  CHECK(queue_domain_of("\"a@b\"@FAR.test") == "far.test");
  CHECK(accepted_at(MessageId{1}) == Time{std::chrono::sys_days{std::chrono::year{2020} / 1 / 1}});
  CHECK(accepted_at(MessageId{std::uint64_t{5'000'000} << 12U}) - accepted_at(MessageId{1}) == std::chrono::seconds(5));
}
