// What a filter sends, from any octets: no crash, the same in any cuts, its replies are replies and nothing more, and
// whatever it makes of a header section is one.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "smtpd/milter/edits.hpp"
#include "smtpd/milter/filter_conversation.hpp"

namespace {

using namespace smtpd::milter;

void expect(bool holds) {
  if (!holds) std::abort();
}

/// Each line has one code, 4xx or 5xx, and nothing that ends it early.
void check_words(const std::string& words) {
  expect(!words.empty() && words.size() < 40'000);
  for (std::size_t at = 0; at <= words.size();) {
    const auto line = std::string_view{words}.substr(at, words.find('\n', at) - at);
    expect(line.size() >= 4 && (line[0] == '4' || line[0] == '5') && line.substr(0, 3) == words.substr(0, 3));
    expect(std::ranges::all_of(line, [](char c) { return (c >= ' ' && c < '\x7f') || c == '\t'; }));
    at += line.size() + 1;
  }
}

/// Stored form: lines, none of them a lone dot, none empty but the last.
void check_section(const HeaderSection& section) {
  const auto stored = section.format();
  expect(stored.real_octets == section.real_octets());
  const HeaderSection again{stored.octets};
  expect(again.format().octets == stored.octets && again.real_octets() == section.real_octets());
  std::string_view rest{stored.octets};
  while (!rest.empty()) {
    const auto end = rest.find("\r\n");
    expect(end != std::string_view::npos);
    const auto line = rest.substr(0, end);
    expect(line.find_first_of("\r\n") == std::string_view::npos);
    expect(line != ".");
    rest.remove_prefix(end + 2);
    expect(!line.empty() || rest.empty());
  }
}

struct Played {
  std::string story;
  std::string section;
};

/// A negotiation and a session; after each answer the next step, again and again.
Played play(std::string_view octets, std::size_t piece) {
  Played played;
  FilterConversation conversation;
  Facts facts;
  facts.client_address = "192.0.2.1";
  facts.id = "id";
  Edits edits;
  edits.header = HeaderSection{"Received: us\r\nA: b\r\n c\r\n..d: e\r\n\r\n"};
  PacketReader reader;
  conversation.negotiate();
  bool agreed = false;
  int step = 0;
  const auto next_step = [&] {
    for (int tries = 0; tries < 20; ++tries) {
      auto expects = Expects::nothing;
      switch (step++ % 10) {
        case 0:
          expects = conversation.on_connect(facts);
          break;
        case 1:
          expects = conversation.on_helo("a.test", facts);
          break;
        case 2:
          expects = conversation.on_unknown("XYZ");
          break;
        case 3:
          expects = conversation.on_mail("<a@b>", " A=B", facts);
          break;
        case 4:
          expects = conversation.on_rcpt("<c@d>", "", facts);
          break;
        case 5:
          expects = conversation.on_data(facts);
          break;
        case 6:
          expects = edits.header.size() > 0 ? conversation.on_header(edits.header.field(0)) : Expects::nothing;
          break;
        case 7:
          expects = conversation.on_end_of_header(facts);
          break;
        case 8:
          expects = conversation.on_body(3);
          break;
        default:
          expects = conversation.on_end_of_message(facts);
          break;
      }
      conversation.output().clear();
      if (expects == Expects::answer) return;
    }
  };
  for (bool over = false; !octets.empty() && !over;) {
    reader.feed(octets.substr(0, piece));
    octets.remove_prefix(std::min(piece, octets.size()));
    for (;;) {
      const auto packet = reader.next();
      over = !packet;
      if (!packet || !*packet) break;
      if (!agreed) {
        agreed = conversation.on_negotiated(**packet).has_value();
        played.story += agreed ? 'O' : '!';
        over = !agreed;
        if (over) break;
        next_step();
        continue;
      }
      const auto answer = conversation.on_packet(**packet);
      if (!answer) {
        played.story += '!';
        over = true;
        break;
      }
      played.story += static_cast<char>('a' + answer->index());
      if (const auto* ruled = std::get_if<Ruled>(&*answer)) {
        if (!ruled->words.empty()) check_words(ruled->words);
        next_step();
      } else if (!edits.apply(*answer, conversation.leading_space())) {
        over = true;
        break;
      }
    }
    if (over) played.story += '.';
  }
  check_section(edits.header);
  played.section = edits.header.format().octets;
  return played;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  const std::string_view octets{reinterpret_cast<const char*>(data) + 1, size - 1};
  const auto whole = play(octets, std::max<std::size_t>(octets.size(), 1));
  const auto cut = play(octets, std::max<std::size_t>(data[0], 1));
  expect(whole.story == cut.story);
  expect(whole.section == cut.section);
  // A section from anywhere is written as it was read.
  const HeaderSection section{octets};
  for (std::size_t i = 0; i < section.size(); ++i)
    HeaderSection::value_for_filter(section.field(i), LeadingSpace::separate);
  return 0;
}
