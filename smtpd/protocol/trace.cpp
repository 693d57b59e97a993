#include "smtpd/protocol/trace.hpp"

#include <fmt/format.h>

#include <array>

namespace smtpd {

namespace {

/// RFC 3848; RFC 6531 4.3
std::string_view protocol_name(const Trace& trace) {
  if (trace.protocol == Trace::Protocol::lmtp) return trace.utf8 ? "UTF8LMTP" : "LMTP";
  if (trace.protocol == Trace::Protocol::esmtp) return trace.utf8 ? "UTF8SMTP" : "ESMTP";
  return "SMTP";
}

}  // namespace

std::string format_date(std::chrono::sys_seconds time) {
  static constexpr std::array<const char*, 7> days = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr std::array<const char*, 12> months = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const auto day = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date{day};
  const std::chrono::hh_mm_ss clock{time - day};
  return fmt::format("{}, {:02} {} {:04} {:02}:{:02}:{:02} +0000", days[std::chrono::weekday{day}.c_encoding()],
                     static_cast<unsigned>(date.day()), months[static_cast<unsigned>(date.month()) - 1],
                     static_cast<int>(date.year()), clock.hours().count(), clock.minutes().count(),
                     clock.seconds().count());
}

std::string format_received(const Trace& trace) {
  fmt::memory_buffer out;
  const auto put = [&](std::string_view text) { out.append(text.data(), text.data() + text.size()); };
  put("Received: from ");
  const bool literal = trace.address != "unix";
  const std::string_view tag = trace.address.find(':') != std::string_view::npos ? "IPv6:" : "";
  put(trace.helo.empty() ? "unknown" : trace.helo);
  if (literal) {
    fmt::format_to(std::back_inserter(out), " ({}{}[{}{}])", trace.name, trace.name.empty() ? "" : " ", tag,
                   trace.address);
  } else {
    put(" (local");
    if (trace.user) fmt::format_to(std::back_inserter(out), ", userid {}", *trace.user);
    put(")");
  }
  put("\r\n\tby ");
  put(trace.hostname);
  if (trace.protocol != Trace::Protocol::none) {
    put(" with ");
    put(protocol_name(trace));
  }
  if (trace.protocol == Trace::Protocol::esmtp || trace.protocol == Trace::Protocol::lmtp) {
    if (!trace.tls_protocol.empty()) put("S");
    if (trace.authenticated) put("A");
  }
  put(" id ");
  put(trace.id);
  if (!trace.tls_protocol.empty())
    fmt::format_to(std::back_inserter(out), "\r\n\t({} {})", trace.tls_protocol, trace.tls_cipher);
  if (!trace.recipient.empty()) fmt::format_to(std::back_inserter(out), "\r\n\tfor <{}>", trace.recipient);
  put(";\r\n\t");
  put(format_date(trace.time));
  put("\r\n");
  return fmt::to_string(out);
}

std::string format_date_field(std::chrono::sys_seconds time) {
  return fmt::format("Date: {}\r\n", format_date(time));
}

std::string format_message_id_field(std::string_view id, std::string_view hostname) {
  return fmt::format("Message-ID: <{}@{}>\r\n", id, hostname);
}

}  // namespace smtpd
