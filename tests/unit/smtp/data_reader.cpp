#include "smtpd/protocol/data_reader.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "smtpd/protocol/cursor.hpp"

namespace {

using smtpd::BareNewline;
using smtpd::Cause;
using smtpd::DataLimits;
using smtpd::DataReader;
using smtpd::MissingFields;

struct Kept final : smtpd::DataSink {
  std::string octets;
  void append(std::string_view more) override { octets += more; }
};

struct Outcome {
  bool complete = false;
  std::size_t taken = 0;
  std::optional<Cause> fault;
  std::string stored;
  std::uint64_t octets = 0, header_octets = 0;
  bool stuffed = false;
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

std::string visible(std::string_view octets) {
  std::string out;
  for (const char c : octets) {
    if (c == '\r') {
      out += "\\r";
    } else if (c == '\n') {
      out += "\\n";
    } else if (c < ' ') {
      out += "\\?";
    } else {
      out += c;
    }
  }
  return out;
}

std::ostream& operator<<(std::ostream& out, const Outcome& o) {
  return out << "complete " << o.complete << " taken " << o.taken << " fault "
             << (o.fault ? static_cast<int>(*o.fault) : -1) << " octets " << o.octets << " header " << o.header_octets
             << " stuffed " << o.stuffed << " stored\n"
             << visible(o.stored);
}

/// `cuts`: how long each piece is; the last repeats.
Outcome read_in_pieces(std::string_view wire, const DataLimits& limits, const MissingFields& missing,
                       const std::vector<std::size_t>& cuts) {
  DataReader reader{limits, missing};
  Kept kept;
  std::size_t at = 0;
  for (std::size_t i = 0; at < wire.size() && !reader.complete(); ++i) {
    const auto piece = wire.substr(at, cuts[std::min(i, cuts.size() - 1)]);
    const auto taken = reader.feed(piece, kept);
    REQUIRE(taken <= piece.size());
    if (!reader.complete()) REQUIRE(taken == piece.size());
    at += taken;
  }
  Outcome outcome{reader.complete(), at, std::nullopt, kept.octets};
  if (outcome.complete) outcome.fault = reader.fault();
  if (!outcome.complete || outcome.fault) outcome.stored.clear();
  if (outcome.complete && !outcome.fault) {
    const auto facts = reader.facts();
    outcome.octets = facts.octets;
    outcome.header_octets = facts.header_octets;
    outcome.stuffed = facts.stuffed;
  }
  return outcome;
}

/// The slow and obvious way: finds the end, undoes the stuffing, mends line ends, looks at lines, stuffs again.
Outcome model(std::string_view wire, const DataLimits& limits, const MissingFields& missing) {
  Outcome outcome;
  const std::string whole = "\r\n" + std::string{wire};
  const auto end = whole.find("\r\n.\r\n");
  if (end == std::string::npos) {
    outcome.taken = wire.size();
    return outcome;
  }
  outcome.complete = true;
  outcome.taken = end + 3;
  const std::string body = whole.substr(2, end);  // with its last CRLF
  // Each line as the sender meant it; `came_stuffed`: on the wire it had a dot in front (which need not stuff another).
  struct RealLine {
    std::string text;
    bool came_stuffed = false;
    bool stuffed() const { return came_stuffed ? !text.empty() : text.starts_with('.'); }
  };
  std::vector<RealLine> lines;
  bool bare = false;
  for (std::size_t at = 0; at < body.size();) {
    const auto crlf = body.find("\r\n", at);
    std::string line = body.substr(at, crlf - at);
    lines.push_back({"", line.starts_with('.')});
    if (line.starts_with('.')) line.erase(0, 1);
    for (const char c : line) {
      if (c == '\r' || c == '\n') {
        bare = true;
        lines.push_back({});
      } else {
        lines.back().text += c;
      }
    }
    at = crlf + 2;
  }
  std::size_t real_octets = 0;
  for (const auto& line : lines) real_octets += line.text.size() + 2;
  if (bare && limits.bare_newline == BareNewline::reject) {
    outcome.fault = Cause::bare_newline;
    return outcome;
  }
  if (limits.octets != 0 && real_octets > limits.octets) {
    outcome.fault = Cause::message_too_big;
    return outcome;
  }
  std::string add_date = missing.date, add_id = missing.message_id;
  std::size_t header_lines = 0;
  std::uint64_t hops = 0;
  bool has_header = true;
  if (!add_date.empty() || !add_id.empty()) {
    if (!lines.empty() && !lines[0].text.empty() && !lines[0].text.starts_with("From ")) {
      const std::string first = lines[0].text.substr(0, 1000);
      const auto colon = first.find(':');
      std::string name = first.substr(0, colon);
      while (name.ends_with(' ')) name.pop_back();
      has_header = colon != std::string::npos && !name.empty();
      for (const char c : name) has_header = has_header && c > ' ';
    }
  }
  const auto field_is = [](const std::string& line, const std::string& name) {
    if (line.size() <= name.size()) return false;
    return smtpd::equals_word(std::string_view{line}.substr(0, name.size()), name) &&
           std::string_view{": \t"}.contains(line[name.size()]);
  };
  if (has_header) {
    while (header_lines < lines.size() && !lines[header_lines].text.empty()) {
      if (field_is(lines[header_lines].text, "received")) ++hops;
      if (field_is(lines[header_lines].text, "date")) add_date.clear();
      if (field_is(lines[header_lines].text, "message-id")) add_id.clear();
      ++header_lines;
    }
  }
  const auto stuff = [](const RealLine& line) { return (line.stuffed() ? "." : "") + line.text + "\r\n"; };
  for (std::size_t i = 0; i < header_lines; ++i) outcome.stored += stuff(lines[i]);
  outcome.stored += add_date + add_id;
  if (!has_header) outcome.stored += "\r\n";
  if (header_lines < lines.size() && has_header) outcome.stored += stuff(lines[header_lines++]);
  outcome.header_octets = outcome.stored.size();
  for (std::size_t i = header_lines; i < lines.size(); ++i) outcome.stored += stuff(lines[i]);
  outcome.octets = outcome.stored.size();
  for (const auto& line : lines) {
    if (line.stuffed()) {
      outcome.stuffed = true;
      --outcome.octets;
    }
  }
  if (outcome.header_octets > limits.header_octets) outcome.fault = Cause::header_too_big;
  if (!outcome.fault && limits.hops != 0 && hops > limits.hops) outcome.fault = Cause::too_many_hops;
  if (outcome.fault) outcome = {true, outcome.taken, outcome.fault, ""};
  return outcome;
}

std::string random_wire(std::mt19937_64& random) {
  static const std::vector<std::string> pieces = {"\r\n",
                                                  "\r\n",
                                                  "\r\n",
                                                  "\r\n.",
                                                  "\r\n..",
                                                  "\r\n\r\n",
                                                  "a",
                                                  "text of a line",
                                                  "Received: from x",
                                                  "DATE: now",
                                                  "Message-ID : <1@x>",
                                                  ":",
                                                  " ",
                                                  ".",
                                                  "From x",
                                                  "X-Y: z",
                                                  std::string(70, 'x'),
                                                  std::string(200, 'y'),
                                                  std::string("\0\xff", 2)};
  static const std::vector<std::string> evil = {"\r",      "\n",      "\n.\n",  "\r.\r", "\n.\r\n",
                                                "\r\n.\n", "\r\n.\r", "\r\r\n", "\n\r\n"};
  const bool bad = random() % 3 == 0;
  std::string wire;
  for (auto count = random() % (random() % 8 == 0 ? 200 : 24); count > 0; --count) {
    wire += bad && random() % 8 == 0 ? evil[random() % evil.size()] : pieces[random() % pieces.size()];
  }
  wire += random() % 10 == 0 ? "" : "\r\n.\r\n";
  if (random() % 4 == 0) wire += "QUIT\r\n";
  return wire;
}

const MissingFields both{"Date: Thu, 01 Jan 2026 00:00:00 +0000\r\n", "Message-ID: <id@host>\r\n"};

}  // namespace

TEST_CASE("the data reader agrees with the dumb model in any cuts") {
  const char* given = std::getenv("SEED");
  const std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  MESSAGE("SEED=" << seed);
  std::mt19937_64 random{seed};
  for (int round = 0; round < 4000; ++round) {
    const std::string wire = random_wire(random);
    DataLimits limits;
    limits.bare_newline = random() % 2 == 0 ? BareNewline::reject : BareNewline::normalize;
    if (random() % 4 == 0) limits.octets = 1 + random() % 400;
    if (random() % 4 == 0) limits.hops = 1 + random() % 3;
    if (random() % 4 == 0) limits.header_octets = 1 + random() % 400;
    const MissingFields missing = random() % 2 == 0 ? MissingFields{} : both;
    const Outcome want = model(wire, limits, missing);
    CAPTURE(visible(wire));
    CAPTURE(round);
    REQUIRE(read_in_pieces(wire, limits, missing, {wire.size() + 1}) == want);
    REQUIRE(read_in_pieces(wire, limits, missing, {1}) == want);
    std::vector<std::size_t> cuts;
    for (int i = 0; i < 20; ++i) cuts.push_back(1 + random() % 90);
    REQUIRE(read_in_pieces(wire, limits, missing, cuts) == want);
  }
}

TEST_CASE("end of data is CRLF.CRLF and nothing else (RFC 5321 2.3.8, 4.1.1.4)") {
  struct Row {
    std::string wire;
    bool ends;
    std::string why;
  };
  const std::vector<Row> rows = {
      {".\r\n", true, "an empty message"},
      {"a\r\n.\r\n", true, "the ordinary end"},
      {"a\n.\n", false, "lone LFs"},
      {"a\n.\r\n", false, "a lone LF before the dot"},
      {"a\r\n.\n", false, "a lone LF behind the dot"},
      {"a\r\n.\r", false, "no LF yet"},
      {"a\r.\r", false, "lone CRs"},
      {"a\r\r\n.\r\n", true, "CR CRLF ends a line, wrongly"},
      {"a\r\n..\r\n", false, "a stuffed dot"},
      {"a\r\n. \r\n", false, "a line of dot and space"},
      {"a.\r\n", false, "a dot at a line's end"},
      {"a\r\n.\r\r\n", false, "CR between"},
      {std::string("a\r\n\0.\r\n", 7), false, "NUL before the dot"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.why);
    CHECK(read_in_pieces(row.wire, {}, {}, {100}).complete == row.ends);
    CHECK(read_in_pieces(row.wire, {}, {}, {1}).complete == row.ends);
  }
}

TEST_CASE("a lone CR or LF is refused, or made a line end with the dots stuffed anew") {
  const std::string wire = "a: b\r\n\r\nx\n.\ny\r.z\r\n.\r\n";
  CHECK(read_in_pieces(wire, {}, {}, {7}).fault == Cause::bare_newline);
  DataLimits limits;
  limits.bare_newline = BareNewline::normalize;
  const auto mended = read_in_pieces(wire, limits, {}, {7});
  CHECK(mended.stored == "a: b\r\n\r\nx\r\n..\r\ny\r\n..z\r\n");
  CHECK(mended.octets == mended.stored.size() - 2);
  CHECK(mended.stuffed);
  // The dot stuffs an empty line; left in place it would end the stored form.
  CHECK(read_in_pieces("a: b\r\n\r\n.\nQUIT\r\n.\r\n", limits, {}, {3}).stored == "a: b\r\n\r\n\r\nQUIT\r\n");
}

TEST_CASE("Date and Message-ID are added where they are missing, and only there") {
  struct Row {
    std::string wire, stored, why;
  };
  const std::vector<Row> rows = {
      {"From: a\r\n\r\nx\r\n.\r\n", "From: a\r\n" + both.date + both.message_id + "\r\nx\r\n", "both missing"},
      {"date: 1\r\n\r\nx\r\n.\r\n", "date: 1\r\n" + both.message_id + "\r\nx\r\n", "one there, in another case"},
      {"Message-Id: <a>\r\nDate: 1\r\n\r\nx\r\n.\r\n", "Message-Id: <a>\r\nDate: 1\r\n\r\nx\r\n", "both there"},
      {"From: a\r\n\r\nDate: 1\r\n.\r\n", "From: a\r\n" + both.date + both.message_id + "\r\nDate: 1\r\n",
       "a field in the body is none"},
      {"hello there\r\n.\r\n", both.date + both.message_id + "\r\nhello there\r\n", "no header section at all"},
      {"\r\nhello\r\n.\r\n", both.date + both.message_id + "\r\nhello\r\n", "an empty header section"},
      {"From: a\r\n.\r\n", "From: a\r\n" + both.date + both.message_id, "a header section without its empty line"},
      {".\r\n", both.date + both.message_id, "nothing"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.why);
    CHECK(read_in_pieces(row.wire, {}, both, {1000}).stored == row.stored);
    CHECK(read_in_pieces(row.wire, {}, both, {1}).stored == row.stored);
  }
}

namespace {

/// Chunks of `raw`, cut as above.
Outcome read_chunks(std::string_view raw, const DataLimits& limits, const MissingFields& missing,
                    const std::vector<std::size_t>& cuts) {
  DataReader reader{limits, missing, smtpd::Framing::counted};
  Kept kept;
  for (std::size_t at = 0, i = 0; at < raw.size(); ++i) {
    const auto piece = raw.substr(at, cuts[std::min(i, cuts.size() - 1)]);
    REQUIRE(reader.feed(piece, kept) == piece.size());
    CHECK_FALSE(reader.complete());
    at += piece.size();
  }
  reader.finish(kept);
  Outcome outcome{reader.complete(), raw.size(), reader.fault(), kept.octets};
  if (outcome.fault) {
    outcome.stored.clear();
    return outcome;
  }
  const auto facts = reader.facts();
  outcome.octets = facts.octets;
  outcome.header_octets = facts.header_octets;
  outcome.stuffed = facts.stuffed;
  return outcome;
}

/// What a client would send behind DATA for the same message.
std::string dotted(std::string_view raw) {
  std::string wire;
  bool start = true;
  for (std::size_t i = 0; i < raw.size(); ++i) {
    if (start && raw[i] == '.') wire += '.';
    wire += raw[i];
    start = raw[i] == '\n' && i > 0 && raw[i - 1] == '\r';
  }
  if (!start) wire += "\r\n";
  return wire + ".\r\n";
}

}  // namespace

TEST_CASE("chunks are read as DATA reads the same message, in any cuts (RFC 3030)") {
  const char* given = std::getenv("SEED");
  const std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  MESSAGE("SEED=" << seed);
  std::mt19937_64 random{seed};
  for (int round = 0; round < 4000; ++round) {
    std::string raw = random_wire(random);
    if (random() % 2 == 0) raw += ".x";
    // Behind DATA, where a CRLF is added, the last line would be another one.
    if (raw.ends_with('\r') || (raw.ends_with('\n') && !raw.ends_with("\r\n"))) raw += 'x';
    DataLimits limits;
    limits.bare_newline = random() % 2 == 0 ? BareNewline::reject : BareNewline::normalize;
    if (random() % 4 == 0) limits.hops = 1 + random() % 3;
    const MissingFields missing = random() % 2 == 0 ? MissingFields{} : both;
    const std::string wire = dotted(raw);
    Outcome want = read_in_pieces(wire, limits, missing, {wire.size() + 1});
    REQUIRE(want.complete);
    want.taken = raw.size();
    CAPTURE(visible(raw));
    REQUIRE(read_chunks(raw, limits, missing, {raw.size() + 1}) == want);
    REQUIRE(read_chunks(raw, limits, missing, {1}) == want);
    std::vector<std::size_t> cuts;
    for (int i = 0; i < 20; ++i) cuts.push_back(1 + random() % 90);
    REQUIRE(read_chunks(raw, limits, missing, cuts) == want);
  }
}

TEST_CASE("the end of the last chunk") {
  DataLimits normalize;
  normalize.bare_newline = BareNewline::normalize;
  struct Row {
    std::string raw, stored, why;
    bool fine;  ///< where lone newlines are refused
  };
  const std::vector<Row> rows = {
      {"", "", "nothing", true},
      {"a: b\r\n", "a: b\r\n", "a whole line", true},
      {"a: b", "a: b\r\n", "a line without its end", true},
      {"a: b\r\n\r\n.", "a: b\r\n\r\n..\r\n", "a dot", true},
      {"a: b\r\n\r\n.\r\n", "a: b\r\n\r\n..\r\n", "a dot on a line", true},
      {"a: b\r\n\r\nc\r", "a: b\r\n\r\nc\r\n", "CR", false},
      {"a: b\r\n\r\n\r", "a: b\r\n\r\n\r\n", "CR as a line", false},
      {"a: b\r\n\r\nc\n", "a: b\r\n\r\nc\r\n", "LF", false},
      {"a: b\n\n.", "a: b\r\n\r\n..\r\n", "a dot behind LF", false},
  };
  for (const auto& row : rows) {
    CAPTURE(row.why);
    for (const std::size_t cut : {std::size_t{1}, std::size_t{100}}) {
      const auto mended = read_chunks(row.raw, normalize, {}, {cut});
      CHECK(mended.stored == row.stored);
      CHECK(mended.octets == row.stored.size() - (mended.stuffed ? 1 : 0));
      CHECK(read_chunks(row.raw, {}, {}, {cut}).fault.has_value() != row.fine);
    }
  }
  DataLimits five;
  five.octets = 5;
  CHECK_FALSE(read_chunks("a: bc", five, both, {100}).fault);  // neither the CRLF counts nor what we add
  CHECK(read_chunks("a: bcd", five, {}, {1}).fault == Cause::message_too_big);
}

TEST_CASE("what was added does not count towards the size limit") {
  DataLimits limits;
  limits.octets = 5;
  CHECK_FALSE(read_in_pieces("a: \r\n.\r\n", limits, both, {100}).fault);
  CHECK(read_in_pieces("a: b\r\n.\r\n", limits, both, {100}).fault == Cause::message_too_big);
}
