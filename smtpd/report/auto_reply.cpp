#include "smtpd/report/auto_reply.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <array>

#include "common/address.hpp"

#include "smtpd/protocol/header_fields.hpp"
#include "smtpd/protocol/trace.hpp"

namespace smtpd::report {
namespace {

/// Of To and Cc: who is addressed behind so many is not addressed alone.
constexpr std::size_t most_addresses = 500;
constexpr std::size_t longest_reference = 900;
constexpr std::size_t longest_subject = 200;
constexpr std::size_t line_octets = 76;

bool is_ascii(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

/// Can stand in a header field of ours.
bool is_plain(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return (c >= ' ' && c < 0x7f) || c == '\t'; });
}

std::string lowered(std::string text) {
  std::ranges::transform(text, text.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return text;
}

/// The first word of a field's body, in small letters: "auto-replied; x=y" is auto-replied.
std::string first_word(std::string_view body) {
  auto text = lowered(unfolded(body));
  return text.substr(0, text.find_first_of(" \t;("));
}

/// RFC 3834 2: addresses that no person reads, by the customs of lists and programs.
bool is_robot(std::string_view reverse_path) {
  const auto address = common::parse_address(reverse_path);
  if (!address) return true;
  const auto local = lowered(address->local);
  constexpr std::array<std::string_view, 9> names = {"mailer-daemon", "postmaster", "listserv", "majordomo", "mailer",
                                                     "root",          "daemon",     "uucp",     "bounce"};
  constexpr std::array<std::string_view, 11> beginnings = {
      "owner-",   "request-", "bounce-",    "bounces-",     "bounces+",          "bounce+",
      "no-reply", "noreply",  "donotreply", "do-not-reply", "srs0=mailer-daemon"};
  constexpr std::array<std::string_view, 7> ends = {"-request", "-owner",   "-relay",   "-bounces",
                                                    "-bounce",  "-noreply", "-no-reply"};
  return std::ranges::find(names, local) != names.end() ||
         std::ranges::any_of(beginnings, [&](std::string_view part) { return local.starts_with(part); }) ||
         std::ranges::any_of(ends, [&](std::string_view part) { return local.ends_with(part); }) ||
         local.find("-bounces+") != local.npos;
}

bool is_message_id(std::string_view text) {
  return text.size() > 4 && text.size() <= 250 && text.front() == '<' && text.back() == '>' &&
         std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7f; }) && std::ranges::count(text, '<') == 1 &&
         std::ranges::count(text, '>') == 1;
}

/// Message ids, one for a line.
std::string fold_words(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const auto begin = text.find_first_not_of(" \t");
    if (begin == text.npos) break;
    text.remove_prefix(begin);
    const auto word = text.substr(0, text.find_first_of(" \t"));
    if (!out.empty()) out += "\r\n ";
    out += word;
    text.remove_prefix(word.size());
  }
  return out;
}

/// RFC 2047 4.1, in words that are short enough each.
std::string encode_words(std::string_view text) {
  constexpr std::string_view letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  constexpr std::size_t most = 42;  // octets of a word: 56 letters and its frame
  std::string out;
  while (!text.empty()) {
    auto take = std::min(most, text.size());
    // Not within a character (RFC 2047 5).
    while (take < text.size() && take > 1 && (static_cast<unsigned char>(text[take]) & 0xC0U) == 0x80U) --take;
    const auto piece = text.substr(0, take);
    text.remove_prefix(take);
    if (!out.empty()) out += "\r\n ";
    out += "=?utf-8?B?";
    for (std::size_t i = 0; i < piece.size(); i += 3) {
      std::uint32_t bits = 0;
      for (std::size_t k = 0; k < 3; ++k)
        bits = bits << 8U | (i + k < piece.size() ? static_cast<unsigned char>(piece[i + k]) : 0U);
      for (std::size_t k = 0; k < 4; ++k) out += i + k > piece.size() ? '=' : letters[bits >> (18 - 6 * k) & 63U];
    }
    out += "?=";
  }
  return out;
}

std::string format_subject(const mailstore::AutoReply& reply, const Asking& asking) {
  std::string subject = reply.subject;
  if (subject.empty())
    subject = asking.subject.empty() ? "Automatic reply" : "Auto: " + asking.subject;  // RFC 3834 3.1.5
  if (!is_ascii(subject)) return encode_words(subject);
  std::ranges::replace_if(subject, [](char c) { return c < ' ' || c == 0x7f; }, ' ');
  return subject;
}

/// RFC 2045 6.7
std::string quoted_printable(std::string_view text) {
  constexpr std::string_view digits = "0123456789ABCDEF";
  std::string out;
  std::size_t column = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\n') {
      out += "\r\n";
      column = 0;
      continue;
    }
    const bool last = i + 1 == text.size() || text[i + 1] == '\n';
    const bool blank = c == ' ' || c == '\t';
    const bool plain = (c > ' ' && c < 0x7f && c != '=') || (blank && !last);
    const auto width = [&] { return plain && !(c == '.' && column == 0) ? std::size_t{1} : std::size_t{3}; };
    // RFC 2045 6.7 (5): 76 with the soft line break.
    if (column + width() > line_octets - 1) {
      out += "=\r\n";
      column = 0;
    }
    if (width() == 1) {
      out += c;
      ++column;
      continue;
    }
    out += '=';
    out += digits[static_cast<unsigned char>(c) >> 4U];
    out += digits[static_cast<unsigned char>(c) & 15U];
    column += 3;
  }
  if (column != 0) out += "\r\n";
  return out;
}

}  // namespace

Asking read_asking(std::string_view header) {
  Asking asking;
  std::string answered;
  for_each_field(header, [&](const HeaderField& field) {
    if (is_named(field, "auto-submitted") || is_named(field, "x-autoreply") || is_named(field, "x-autorespond")) {
      asking.automatic = asking.automatic || first_word(field.body) != "no";
    } else if (is_named(field, "precedence")) {
      const auto word = first_word(field.body);
      asking.of_a_list = asking.of_a_list || word == "bulk" || word == "list" || word == "junk";
    } else if (is_named(field, "x-auto-response-suppress")) {
      // What Exchange says of what wants no answer.
      const auto words = lowered(unfolded(field.body));
      asking.automatic =
          asking.automatic || words.contains("all") || words.contains("oof") || words.contains("autoreply");
    } else if (lowered(std::string{field.name}).starts_with("list-")) {
      asking.of_a_list = true;
    } else if (is_named(field, "to") || is_named(field, "cc")) {
      auto addresses = find_addresses(field.body, most_addresses - asking.to.size());
      std::ranges::move(addresses, std::back_inserter(asking.to));
    } else if (is_named(field, "message-id")) {
      auto id = unfolded(field.body);
      if (is_message_id(id)) asking.message_id = std::move(id);
    } else if (is_named(field, "references")) {
      asking.references = unfolded(field.body);
    } else if (is_named(field, "in-reply-to")) {
      answered = unfolded(field.body);
    } else if (is_named(field, "subject")) {
      auto subject = unfolded(field.body);
      if (is_plain(subject) && subject.size() <= longest_subject) asking.subject = std::move(subject);
    }
  });
  // RFC 5322 3.6.4
  if (asking.references.empty() && is_message_id(answered)) asking.references = answered;
  if (!is_plain(asking.references) || asking.references.size() > longest_reference) asking.references.clear();
  return asking;
}

std::string_view name_of(Withheld why) {
  switch (why) {
    case Withheld::out_of_season:
      return "not now";
    case Withheld::no_sender:
      return "null reverse-path";
    case Withheld::robot_sender:
      return "the sender is no person";
    case Withheld::automatic:
      return "the message is automatic itself";
    case Withheld::of_a_list:
      return "the message is a list's";
    case Withheld::not_addressed:
      break;
  }
  return "neither To nor Cc names the mailbox";
}

std::optional<Withheld> check_auto_reply(const mailstore::AutoReply& reply, std::string_view reverse_path,
                                         const Asking& asking, bool addressed, std::chrono::sys_seconds now) {
  const auto micros = static_cast<std::uint64_t>(std::chrono::microseconds{now.time_since_epoch()}.count());
  if (micros < reply.from || (reply.until != 0 && micros >= reply.until)) return Withheld::out_of_season;
  if (reverse_path.empty()) return Withheld::no_sender;
  if (is_robot(reverse_path)) return Withheld::robot_sender;
  if (asking.automatic) return Withheld::automatic;
  if (asking.of_a_list) return Withheld::of_a_list;
  if (!addressed) return Withheld::not_addressed;
  return std::nullopt;
}

Written write_auto_reply(const mailstore::AutoReply& reply, const Asking& asking, const Letter& letter) {
  Written written;
  written.utf8 = !is_ascii(letter.from) || !is_ascii(letter.to);
  auto& out = written.octets;
  out += fmt::format("Date: {}\r\n", format_date(letter.time));
  out += fmt::format("From: <{}>\r\n", letter.from);
  out += fmt::format("To: <{}>\r\n", letter.to);
  out += fmt::format("Subject: {}\r\n", format_subject(reply, asking));
  out += fmt::format("Message-ID: <{}@{}>\r\n", letter.id, letter.hostname);
  if (!asking.message_id.empty()) {
    out += fmt::format("In-Reply-To: {}\r\n", asking.message_id);
    out += fmt::format("References: {}\r\n", fold_words(asking.references + ' ' + asking.message_id));
  }
  out += "Auto-Submitted: auto-replied\r\n";  // RFC 3834 5.2
  out += "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n";
  out += "Content-Transfer-Encoding: quoted-printable\r\n\r\n";
  written.header_octets = out.size();
  std::string text;
  // Lines as they were typed on whatever machine.
  std::ranges::copy_if(reply.text, std::back_inserter(text), [](char c) { return c != '\r'; });
  out += quoted_printable(text.empty() ? "This is an automatic reply." : text);
  return written;
}

}  // namespace smtpd::report
