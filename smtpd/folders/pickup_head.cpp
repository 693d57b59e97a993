#include "smtpd/folders/pickup_head.hpp"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "common/address_list.hpp"

namespace smtpd::folders {
namespace {

using Addresses = std::vector<common::Address>;

bool is_name(std::string_view name, std::string_view wanted) {
  return std::ranges::equal(
      name, wanted, [](char a, char b) { return (a >= 'A' && a <= 'Z' ? static_cast<char>(a - 'A' + 'a') : a) == b; });
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view blanks = " \t\r\n";
  const auto begin = text.find_first_not_of(blanks);
  if (begin == text.npos) return {};
  return text.substr(begin, text.find_last_not_of(blanks) - begin + 1);
}

/// The first line of `text` with its end.
std::string_view line_of(std::string_view text) {
  const auto end = text.find('\n');
  return end == text.npos ? text : text.substr(0, end + 1);
}

bool is_empty(std::string_view line) {
  return line == "\n" || line == "\r\n";
}

/// A field with the lines that continue it. `name` empty: it is no field.
struct Field {
  std::string_view name, value, whole;
};

Field field_of(std::string_view text) {
  auto line = line_of(text);
  // RFC 5322 2.2: printable ASCII but the colon; blanks before the colon are of old (4.5).
  const auto colon = line.find(':');
  if (colon == line.npos || colon == 0) return {};
  const auto name = trim(line.substr(0, colon));
  const bool fine = !name.empty() && std::ranges::all_of(name, [](char c) { return c > 0x20 && c < 0x7f; });
  if (!fine || line.front() == ' ' || line.front() == '\t') return {};
  auto size = line.size();
  while (size < text.size() && (text[size] == ' ' || text[size] == '\t')) size += line_of(text.substr(size)).size();
  return {name, text.substr(colon + 1, size - colon - 1), text.substr(0, size)};
}

std::unexpected<PickupFault> fault(std::string why, BadmailCause cause = BadmailCause::bad_pickup_file) {
  return std::unexpected(PickupFault{cause, std::move(why)});
}

/// "a@b.c" or "<a@b.c>".
std::expected<common::Address, std::string> parse_one(std::string_view text, std::string_view default_domain) {
  text = trim(text);
  if (text.starts_with('<') && text.ends_with('>')) text = trim(text.substr(1, text.size() - 2));
  auto address = common::parse_address(text);
  if (!address) return address;
  if (address->domain.empty()) {
    if (default_domain.empty()) return std::unexpected("a bare local part, and no default_domain to complete it");
    address->domain = default_domain;
  }
  return address;
}

/// The lines in front, and how much of the text they are.
struct Lines {
  std::optional<std::string> sender;
  Addresses receivers;
  DotStuffed dots = DotStuffed::unknown;
  std::size_t octets = 0;
};

std::expected<Lines, PickupFault> parse_lines(std::string_view text, std::string_view default_domain) {
  Lines lines;
  for (;;) {
    const auto line = line_of(text.substr(lines.octets));
    const auto colon = line.find(':');
    if (colon == line.npos) break;
    const auto name = trim(line.substr(0, colon));
    const auto value = trim(line.substr(colon + 1));
    if (is_name(name, "x-sender")) {
      if (lines.sender) return fault("it has two x-sender lines");
      if (value.empty() || value == "<>") {
        lines.sender.emplace();
      } else {
        auto address = parse_one(value, default_domain);
        if (!address) return fault("x-sender: " + address.error());
        lines.sender = common::format_address(*address);
      }
    } else if (is_name(name, "x-receiver")) {
      auto address = parse_one(value, default_domain);
      if (!address) return fault("x-receiver: " + address.error());
      lines.receivers.push_back(std::move(*address));
    } else if (is_name(name, "x-dot-stuffed")) {
      if (value != "yes" && value != "no") return fault("x-dot-stuffed: neither yes nor no");
      lines.dots = value == "yes" ? DotStuffed::yes : DotStuffed::no;
    } else {
      break;
    }
    lines.octets += line.size();
  }
  const auto rest = text.substr(lines.octets);
  const auto next = line_of(rest);
  // Else the message has no header section, and this line begins its body.
  if (lines.octets != 0 && is_empty(next) && !field_of(rest.substr(next.size())).name.empty()) {
    lines.octets += next.size();
  }
  return lines;
}

std::expected<Addresses, std::string> parse_list(std::string_view value, std::string_view default_domain) {
  auto addresses = common::parse_address_list(value);
  if (!addresses) return addresses;
  for (auto& address : *addresses) {
    if (!address.domain.empty()) continue;
    if (default_domain.empty()) return std::unexpected("a bare local part, and no default_domain to complete it");
    address.domain = default_domain;
  }
  return addresses;
}

}  // namespace

std::expected<PickupHead, PickupFault> parse_pickup_head(std::string_view text, std::string_view default_domain) {
  auto lines = parse_lines(text, default_domain);
  if (!lines) return std::unexpected(std::move(lines.error()));
  PickupHead head;
  head.dots = lines->dots;
  head.octets = lines->octets;
  Addresses to;
  std::optional<std::string> sender;
  std::optional<std::string> from;
  while (head.octets < text.size()) {
    if (is_empty(line_of(text.substr(head.octets)))) break;
    const auto field = field_of(text.substr(head.octets));
    // Taken for the body it would hide fields behind it: a Bcc there would be seen by everybody, and get nothing.
    if (field.name.empty()) return fault("malformed: a line of its header section is no field");
    head.octets += field.whole.size();
    const bool bcc = is_name(field.name, "bcc");
    if (!bcc && !is_name(field.name, "resent-bcc")) head.header += field.whole;
    const bool receiver = bcc || is_name(field.name, "to") || is_name(field.name, "cc");
    const bool of_sender = is_name(field.name, "sender");
    if ((receiver && lines->receivers.empty()) || (!lines->sender && (of_sender || is_name(field.name, "from")))) {
      auto addresses = parse_list(field.value, default_domain);
      if (!addresses) return fault(std::string{field.name} + ": " + addresses.error());
      if (receiver) {
        std::ranges::move(*addresses, std::back_inserter(to));
      } else if (!addresses->empty()) {
        auto& place = of_sender ? sender : from;
        if (!place) place = common::format_address(addresses->front());
      }
    }
  }
  if (lines->sender) {
    head.reverse_path = std::move(*lines->sender);
  } else if (sender || from) {
    head.reverse_path = std::move(sender ? *sender : *from);
  } else {
    return fault("it names no sender: neither an x-sender line nor a field Sender or From");
  }
  std::set<std::string> seen;
  for (auto& address : lines->receivers.empty() ? to : lines->receivers) {
    if (seen.insert(common::canonical_key(address)).second) head.recipients.push_back(std::move(address));
  }
  if (head.recipients.empty()) {
    return fault("it names no recipient: neither an x-receiver line nor a field To, Cc or Bcc",
                 BadmailCause::no_recipients);
  }
  return head;
}

bool has_whole_head(std::string_view text) {
  // The first empty line may be that behind the envelope.
  bool lines = false;
  for (std::size_t at = 0; at < text.size();) {
    const auto line = line_of(text.substr(at));
    if (!line.ends_with('\n')) return false;
    const auto name = trim(line.substr(0, std::min(line.find(':'), line.size())));
    const bool envelope = line.contains(':') &&
                          (is_name(name, "x-sender") || is_name(name, "x-receiver") || is_name(name, "x-dot-stuffed"));
    if (is_empty(line)) {
      if (!lines) return true;
      // What follows says whether the envelope or the header section ends here.
      const auto next = line_of(text.substr(at + line.size()));
      if (!next.ends_with('\n')) return false;
      if (field_of(next).name.empty()) return true;
    }
    lines = envelope;
    at += line.size();
  }
  return false;
}

void DotScan::feed(std::string_view octets) {
  for (const char octet : octets) {
    if (alone_) single_ = true;  // something follows the dot
    alone_ = false;
    switch (at_) {
      case At::line_start:
        at_ = octet == '.' ? At::dot : octet == '\n' ? At::line_start : At::text;
        dots_ = dots_ || octet == '.';
        break;
      case At::dot:
        if (octet == '\n') {
          alone_ = true;
          at_ = At::line_start;
        } else if (octet == '\r') {
          at_ = At::dot_cr;
        } else {
          single_ = single_ || octet != '.';
          at_ = At::text;
        }
        break;
      case At::dot_cr:
        alone_ = octet == '\n';
        single_ = single_ || octet != '\n';
        at_ = octet == '\n' ? At::line_start : At::text;
        break;
      case At::text:
        if (octet == '\n') at_ = At::line_start;
        break;
    }
  }
}

void CrlfEnds::feed(std::string_view octets, std::string& out) {
  for (std::size_t at = 0; at < octets.size();) {
    const auto end = octets.find('\n', at);
    if (end == octets.npos) {
      out += octets.substr(at);
      break;
    }
    out += octets.substr(at, end - at);
    const char before = end > at ? octets[end - 1] : at == 0 ? before_ : '\n';
    if (before != '\r') out += '\r';
    out += '\n';
    at = end + 1;
  }
  if (!octets.empty()) before_ = octets.back();
}

}  // namespace smtpd::folders
