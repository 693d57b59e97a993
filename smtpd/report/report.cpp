#include "smtpd/report/report.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <string_view>

#include "common/host_port.hpp"
#include "common/utf8.hpp"

#include "smtpd/protocol/trace.hpp"
#include "smtpd/protocol/xtext.hpp"

namespace smtpd::report {
namespace {

/// What a peer says may be long; RFC 5322 2.1.1 has an end for lines, and a person's patience too.
constexpr std::size_t longest_text = 500;
constexpr std::size_t folded_at = 76;

bool is_ascii(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

/// One line of text: no control characters, no line ends, UTF-8 only where the report may hold it.
std::string cleaned(std::string_view text, bool utf8) {
  std::string clean;
  text = text.substr(0, longest_text);
  while (!text.empty()) {
    const auto [code, octets] = common::first_character(text);
    const bool plain = octets == 1 && code >= ' ' && code != 0x7f;
    const bool beyond = octets > 1 && utf8 && !common::is_steering(code);
    if (plain || beyond) {
      clean += text.substr(0, octets);
    } else {
      clean += '?';
    }
    text.remove_prefix(std::max<std::size_t>(octets, 1));
  }
  return clean;
}

/// Breaks at blanks, the lines behind the first with `indent` in front. A word longer than a line stays whole.
std::string folded(std::string_view text, std::string_view indent) {
  std::string out;
  std::size_t column = 0;
  while (!text.empty()) {
    const auto begin = text.find_first_not_of(' ');
    if (begin == text.npos) break;
    text.remove_prefix(begin);
    const auto word = text.substr(0, text.find(' '));
    if (column != 0 && column + 1 + word.size() > folded_at) {
      out += "\r\n";
      out += indent;
      column = indent.size();
    } else if (column != 0) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
    text.remove_prefix(word.size());
  }
  return out;
}

std::string field(std::string_view name, std::string_view value) {
  return folded(fmt::format("{}: {}", name, value), " ") + "\r\n";
}

std::string_view name_of(Action action) {
  switch (action) {
    case Action::failed:
      return "failed";
    case Action::delayed:
      return "delayed";
    case Action::delivered:
      return "delivered";
    case Action::relayed:
      return "relayed";
    case Action::expanded:
      break;
  }
  return "expanded";
}

std::string_view subject_of(Action worst) {
  switch (worst) {
    case Action::failed:
      return "Undelivered mail returned to sender";
    case Action::delayed:
      return "Delayed mail: still being tried";
    case Action::delivered:
    case Action::relayed:
    case Action::expanded:
      break;
  }
  return "Delivery report";
}

std::string_view opening_of(Action action) {
  switch (action) {
    case Action::failed:
      return "Your message could not be delivered to the recipients below.";
    case Action::delayed:
      return "Your message has not reached the recipients below yet. It is still being tried: you need not send it "
             "again.";
    case Action::delivered:
      return "Your message was delivered to the mailboxes of the recipients below.";
    case Action::relayed:
      return "Your message was handed to the next server for the recipients below. That server sends no reports.";
    case Action::expanded:
      break;
  }
  return "Your message was sent on to everybody whom the addresses below stand for.";
}

/// RFC 6533 3: an address that is not ASCII has the type utf-8.
std::string typed(std::string_view address) {
  return fmt::format("{};{}", is_ascii(address) ? "rfc822" : "utf-8", address);
}

std::string for_people(const Subject& subject, std::span<const Recipient> recipients, const Stamp& stamp, bool utf8) {
  std::string text = fmt::format("This is the mail server {}.\r\n", stamp.hostname);
  for (const auto action : {Action::failed, Action::delayed, Action::delivered, Action::relayed, Action::expanded}) {
    bool opened = false;
    for (const auto& recipient : recipients) {
      if (recipient.action != action) continue;
      if (!opened) text += "\r\n" + folded(opening_of(action), "") + "\r\n";
      opened = true;
      text += fmt::format("\r\n<{}>\r\n", cleaned(recipient.address, utf8));
      if (!recipient.why.empty()) text += "    " + folded(cleaned(recipient.why, utf8), "    ") + "\r\n";
      if (!recipient.answer.empty()) {
        const auto who = recipient.peer.empty() ? std::string{"The answer was"} : recipient.peer + " said";
        text += "    " + folded(cleaned(fmt::format("{}: {}", who, recipient.answer), utf8), "    ") + "\r\n";
      }
      if (recipient.until) text += fmt::format("    Tried until {}\r\n", format_date(*recipient.until));
    }
  }
  text += fmt::format("\r\nThe message had the id {} here.\r\n", subject.id);
  return text;
}

/// RFC 3464 2.2, 2.3
std::string for_machines(const Subject& subject, std::span<const Recipient> recipients, const Stamp& stamp, bool utf8) {
  std::string text;
  if (!subject.envelope_id.empty()) text += field("Original-Envelope-Id", cleaned(subject.envelope_id, utf8));
  text += field("Reporting-MTA", "dns; " + stamp.hostname);
  text += field("Arrival-Date", format_date(subject.arrived));
  for (const auto& recipient : recipients) {
    text += "\r\n";
    if (!recipient.original.empty()) text += field("Original-Recipient", cleaned(recipient.original, utf8));
    text += field("Final-Recipient", typed(cleaned(recipient.address, utf8)));
    text += field("Action", name_of(recipient.action));
    text += field("Status", cleaned(recipient.status, false));
    if (!recipient.peer.empty()) {
      // RFC 3464 2.1.2: a number stands in brackets.
      const bool numeric = common::is_numeric_address(recipient.peer);
      const auto name = cleaned(recipient.peer, false);
      text += field("Remote-MTA", numeric ? "dns; [" + name + "]" : "dns; " + name);
    }
    if (!recipient.answer.empty()) text += field("Diagnostic-Code", "smtp; " + cleaned(recipient.answer, utf8));
    if (recipient.tried) text += field("Last-Attempt-Date", format_date(*recipient.tried));
    if (recipient.until) text += field("Will-Retry-Until", format_date(*recipient.until));
  }
  return text;
}

}  // namespace

std::string readable_original(const std::string& original_recipient) {
  const auto semicolon = original_recipient.find(';');
  if (semicolon == original_recipient.npos) return {};
  const auto plain = decode_xtext(std::string_view{original_recipient}.substr(semicolon + 1));
  return plain ? original_recipient.substr(0, semicolon + 1) + *plain : original_recipient;
}

Returned choose_returned(std::uint8_t return_content, bool any_failed, std::uint64_t octets, std::uint64_t most) {
  constexpr std::uint8_t headers_asked = 2;
  return any_failed && return_content != headers_asked && octets <= most ? Returned::whole : Returned::header;
}

Around format_report(const Subject& subject, std::span<const Recipient> recipients, const Stamp& stamp,
                     Returned returned) {
  const auto worst = std::ranges::min_element(recipients, {}, &Recipient::action)->action;
  const bool utf8 =
      subject.utf8 || !is_ascii(subject.reverse_path) ||
      std::ranges::any_of(recipients, [](const Recipient& r) { return !is_ascii(r.address) || !is_ascii(r.original); });
  const bool whole = returned == Returned::whole;
  const std::string_view encoding = subject.eight_bit || utf8 ? "8bit" : "7bit";
  const auto boundary = fmt::format("={}.{:016x}=", stamp.id, stamp.chance);

  Around report;
  report.utf8 = utf8;
  report.eight_bit = subject.eight_bit || utf8;
  auto& out = report.front;
  out += fmt::format("Date: {}\r\n", format_date(stamp.time));
  out += fmt::format("From: Mail server {} <{}>\r\n", stamp.hostname, stamp.sender);
  out += fmt::format("To: <{}>\r\n", subject.reverse_path);
  out += fmt::format("Subject: {}\r\n", subject_of(worst));
  out += fmt::format("Message-ID: <{}@{}>\r\n", stamp.id, stamp.hostname);
  out += "Auto-Submitted: auto-replied\r\n";  // RFC 3834 5
  out += "MIME-Version: 1.0\r\n";
  out += fmt::format("Content-Type: multipart/report; report-type=delivery-status;\r\n boundary=\"{}\"\r\n", boundary);
  out += fmt::format("Content-Transfer-Encoding: {}\r\n\r\n", encoding);
  report.header_octets = out.size();

  out += fmt::format("--{}\r\nContent-Type: text/plain; charset={}\r\nContent-Transfer-Encoding: {}\r\n\r\n", boundary,
                     utf8 ? "utf-8" : "us-ascii", utf8 ? "8bit" : "7bit");
  out += for_people(subject, recipients, stamp, utf8);
  // RFC 6533 4.2 where there is more than ASCII
  out += fmt::format("\r\n--{}\r\nContent-Type: message/{}\r\n{}\r\n", boundary,
                     utf8 ? "global-delivery-status" : "delivery-status",
                     utf8 ? "Content-Transfer-Encoding: 8bit\r\n" : "");
  out += for_machines(subject, recipients, stamp, utf8);
  const std::string_view type = whole ? (subject.utf8 ? "message/global" : "message/rfc822")
                                      : (subject.utf8 ? "message/global-headers" : "text/rfc822-headers");
  out += fmt::format("\r\n--{}\r\nContent-Type: {}\r\nContent-Transfer-Encoding: {}\r\n\r\n", boundary, type, encoding);
  report.back = fmt::format("\r\n--{}--\r\n", boundary);
  return report;
}

}  // namespace smtpd::report
