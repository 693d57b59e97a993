// The client's conversation with a peer that says anything: no crash, the same in any cuts, nobody "delivered" who was
// not sent the message, and nothing of the message sent twice.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "tests/unit/outbound/dialogue.hpp"

namespace {

using namespace test;

void expect(bool holds) {
  if (!holds) std::abort();
}

struct Played {
  std::string sent;
  std::string outcomes;
  bool over = false;
};

ClientTerms terms_of(std::uint8_t options) {
  ClientTerms terms;
  terms.hostname = "us.test";
  terms.security = Security::none;
  terms.hello = (options & 1) != 0 ? Hello::helo : Hello::ehlo;
  if ((options & 2) != 0)
    terms.credentials = std::make_shared<const Credentials>(Credentials{"ann", common::Secret{"secret"}});
  terms.recipients = (options & 4) != 0 ? 2 : 100;
  terms.messages = (options & 8) != 0 ? 1 : 20;
  return terms;
}

/// The opening and one message.
Played play(std::uint8_t options, std::string_view octets, std::size_t piece) {
  Dialogue talk{terms_of(options)};
  talk.message.eight_bit = (options & 16) != 0;
  talk.message.stuffed = (options & 32) != 0;
  talk.message.utf8 = (options & 64) != 0;
  talk.examination.content = (options & 128) != 0 ? Examination::Content::convertible : Examination::Content::seven_bit;
  talk.message.recipients = {{"a@one.test", notify_never, {}}, {"b@two.test", 0, {}}, {"c@one.test", 0, {}}};
  talk.piece = piece;
  Played played;
  const Event event{Event::says, std::string{octets}};
  // Octet by octet, so that what stands behind the opening is heard by the message in all cuts.
  std::size_t at = 0;
  while (at < octets.size() && !talk.rests() && !talk.done()) {
    played.sent += talk.play({{Event::says, std::string{octets.substr(at, 1)}}});
    ++at;
  }
  if (talk.rests()) {
    played.sent += talk.send({});
    while (at < octets.size() && !talk.rests() && !talk.done()) {
      const auto next = octets.substr(at, piece);
      played.sent += talk.play({{Event::says, std::string{next}}});
      at += next.size();
    }
    if (!talk.rests() && !talk.done()) talk.play({closes()});
  }
  for (const auto& answer : talk.answers) {
    played.outcomes += static_cast<char>('0' + static_cast<int>(answer.outcome));
    expect(answer.outcome != Outcome::delivered || played.sent.find("[") != std::string::npos);
    expect(answer.outcome != Outcome::unknown || played.sent.find("[") != std::string::npos);
    expect(answer.text.size() <= 512);
  }
  played.over = talk.done();
  return played;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::string_view octets{reinterpret_cast<const char*>(data) + 2, size - 2};
  const auto whole = play(data[0], octets, std::max<std::size_t>(octets.size(), 1));
  const auto cut = play(data[0], octets, std::max<std::size_t>(data[1], 1));
  expect(whole.outcomes == cut.outcomes);
  // SCRAM's nonces differ each time.
  const bool scram = whole.sent.find("SCRAM") != std::string::npos;
  if (!scram) expect(whole.sent == cut.sent);
  // Each recipient is in one message at most that was sent to its end and taken.
  expect(std::ranges::count(whole.sent, '[') <= 3);
  return 0;
}
