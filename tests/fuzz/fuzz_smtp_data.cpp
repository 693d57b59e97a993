// The data reader: the same outcome in any cuts, and a stored form that cannot end before its end.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "smtpd/protocol/data_reader.hpp"

namespace {

void expect(bool holds) {
  if (!holds) std::abort();
}

struct Kept final : smtpd::DataSink {
  std::string octets;
  void append(std::string_view more) override { octets += more; }
};

struct Outcome {
  bool complete = false;
  std::size_t taken = 0;
  std::optional<smtpd::Cause> fault;
  std::string stored;
  std::uint64_t octets = 0, header_octets = 0;
  bool stuffed = false;
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

/// The same octets as chunks.
Outcome read_chunks(std::string_view raw, const smtpd::DataLimits& limits, const smtpd::MissingFields& missing,
                    std::size_t piece) {
  smtpd::DataReader reader{limits, missing, smtpd::Framing::counted};
  Kept kept;
  Outcome outcome;
  while (outcome.taken < raw.size()) {
    const auto taken = reader.feed(raw.substr(outcome.taken, piece), kept);
    expect(taken != 0);
    outcome.taken += taken;
  }
  reader.finish(kept);
  outcome.complete = reader.complete();
  outcome.fault = reader.fault();
  if (outcome.fault) return outcome;
  outcome.stored = std::move(kept.octets);
  outcome.octets = reader.facts().octets;
  outcome.header_octets = reader.facts().header_octets;
  outcome.stuffed = reader.facts().stuffed;
  return outcome;
}

Outcome read(std::string_view wire, const smtpd::DataLimits& limits, const smtpd::MissingFields& missing,
             std::size_t piece) {
  smtpd::DataReader reader{limits, missing};
  Kept kept;
  Outcome outcome;
  while (outcome.taken < wire.size() && !reader.complete())
    outcome.taken += reader.feed(wire.substr(outcome.taken, piece), kept);
  outcome.complete = reader.complete();
  if (!outcome.complete) return outcome;
  outcome.fault = reader.fault();
  if (outcome.fault) return outcome;
  outcome.stored = std::move(kept.octets);
  outcome.octets = reader.facts().octets;
  outcome.header_octets = reader.facts().header_octets;
  outcome.stuffed = reader.facts().stuffed;
  return outcome;
}

void check_stored(const Outcome& outcome) {
  const std::string& stored = outcome.stored;
  expect(stored.empty() || stored.ends_with("\r\n"));
  std::uint64_t dots = 0;
  for (std::size_t at = 0; at < stored.size();) {
    const auto end = stored.find("\r\n", at);
    const auto line = std::string_view{stored}.substr(at, end - at);
    expect(line != ".");
    expect(line.find_first_of("\r\n") == std::string_view::npos);
    if (line.starts_with('.')) ++dots;
    at = end + 2;
  }
  expect(outcome.octets == stored.size() - dots);
  expect(outcome.stuffed == (dots != 0));
  expect(outcome.header_octets <= stored.size());
}

/// As a sender puts a message on its way by DATA: line by line (RFC 5321 4.5.2).
std::string as_data(std::string_view message) {
  std::string wire;
  while (!message.empty()) {
    const auto line = message.substr(0, message.find("\r\n") + 2);
    if (line.starts_with('.')) wire += '.';
    wire += line;
    message.remove_prefix(line.size());
  }
  return wire + ".\r\n";
}

/// One message has one stored form, by whichever command it comes.
void compare_with_data(std::string_view message, const Outcome& chunks, const smtpd::DataLimits& limits,
                       const smtpd::MissingFields& missing, std::size_t piece) {
  if (!message.empty() && !message.ends_with("\r\n")) return;  // DATA cannot say it
  const auto wire = as_data(message);
  auto dotted = read(wire, limits, missing, piece);
  expect(dotted.taken == wire.size());
  dotted.taken = chunks.taken;
  expect(dotted == chunks);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  smtpd::DataLimits limits;
  limits.bare_newline = (data[0] & 1) != 0 ? smtpd::BareNewline::normalize : smtpd::BareNewline::reject;
  if ((data[0] & 2) != 0) limits.octets = 100;
  if ((data[0] & 4) != 0) limits.hops = 2;
  if ((data[0] & 8) != 0) limits.header_octets = 80;
  smtpd::MissingFields missing;
  if ((data[0] & 16) != 0) missing = {"Date: now\r\n", "Message-ID: <a@b>\r\n"};
  const std::size_t piece = std::max<std::size_t>(data[1], 1);
  const std::string_view wire{reinterpret_cast<const char*>(data) + 2, size - 2};
  if ((data[0] & 32) != 0) {
    const auto chunk = read_chunks(wire, limits, missing, wire.size() + 1);
    expect(read_chunks(wire, limits, missing, 1) == chunk);
    expect(read_chunks(wire, limits, missing, piece) == chunk);
    if (!chunk.fault) check_stored(chunk);
    compare_with_data(wire, chunk, limits, missing, piece);
    return 0;
  }
  const auto whole = read(wire, limits, missing, wire.size() + 1);
  expect(read(wire, limits, missing, 1) == whole);
  expect(read(wire, limits, missing, piece) == whole);
  if (whole.complete && !whole.fault) check_stored(whole);
  return 0;
}
