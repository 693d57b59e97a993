#include "smtpd/milter/facts.hpp"

#include <algorithm>
#include <array>

namespace smtpd::milter {
namespace {

/// "name [address]", as Sendmail tells a client whose name is verified; else the address alone.
std::string name_and_address(const Facts& facts) {
  const bool literal = facts.client_address != "unix";
  const std::string address = literal ? "[" + facts.client_address + "]" : "localhost";
  return facts.client_name.empty() ? address : facts.client_name + " " + address;
}

std::string name_or_unknown(const Facts& facts) {
  if (!facts.client_name.empty()) return facts.client_name;
  return facts.client_address == "unix" ? "localhost" : "unknown";
}

struct Row {
  std::string_view name;
  std::string (*value)(const Facts&);
};

constexpr auto table = std::to_array<Row>({
    {"j", [](const Facts& f) { return f.hostname; }},
    {"v", [](const Facts& f) { return f.version; }},
    {"_", name_and_address},
    {"i", [](const Facts& f) { return f.id; }},
    {"{daemon_name}", [](const Facts& f) { return f.daemon; }},
    {"{daemon_addr}", [](const Facts& f) { return f.local_address; }},
    {"{daemon_port}", [](const Facts& f) { return f.local_port; }},
    {"{if_name}", [](const Facts& f) { return f.hostname; }},
    {"{if_addr}", [](const Facts& f) { return f.local_address; }},
    {"{client_addr}", [](const Facts& f) { return f.client_address == "unix" ? std::string{} : f.client_address; }},
    {"{client_port}",
     [](const Facts& f) { return f.client_port == 0 ? std::string{} : std::to_string(f.client_port); }},
    {"{client_name}", name_or_unknown},
    {"{client_ptr}", name_or_unknown},
    {"{tls_version}", [](const Facts& f) { return f.tls_version; }},
    {"{cipher}", [](const Facts& f) { return f.cipher; }},
    {"{cipher_bits}", [](const Facts& f) { return f.cipher_bits; }},
    {"{auth_type}", [](const Facts& f) { return f.auth_type; }},
    {"{auth_authen}", [](const Facts& f) { return f.auth_authen; }},
    {"{auth_author}", [](const Facts& f) { return f.auth_authen; }},
    {"{mail_addr}", [](const Facts& f) { return f.mail_address; }},
    {"{mail_host}", [](const Facts& f) { return f.mail_host; }},
    {"{mail_mailer}", [](const Facts&) { return std::string{"smtp"}; }},
    {"{rcpt_addr}", [](const Facts& f) { return f.rcpt_address; }},
    {"{rcpt_host}", [](const Facts& f) { return f.rcpt_host; }},
    {"{rcpt_mailer}", [](const Facts& f) { return f.rcpt_mailer; }},
});

}  // namespace

std::string macro_value(const Facts& facts, std::string_view name) {
  const auto* row = std::ranges::find(table, name, &Row::name);
  return row == table.end() ? std::string{} : row->value(facts);
}

std::string_view default_macros(Event event) {
  switch (event) {
    case Event::connect:
      return "j _ v {daemon_name} {daemon_addr} {daemon_port} {if_name} {if_addr} {client_addr} {client_name} "
             "{client_port} {client_ptr}";
    case Event::helo:
      return "{tls_version} {cipher} {cipher_bits}";
    case Event::mail:
      return "i {mail_addr} {mail_host} {mail_mailer} {auth_type} {auth_authen} {auth_author} {tls_version} {cipher} "
             "{cipher_bits}";
    case Event::rcpt:
      return "i {rcpt_addr} {rcpt_host} {rcpt_mailer}";
    case Event::data:
    case Event::end_of_header:
    case Event::end_of_message:
      return "i";
    default:
      return "";
  }
}

std::vector<std::string> split_macro_names(std::string_view list) {
  constexpr std::string_view between = " ,\t";
  std::vector<std::string> names;
  for (;;) {
    const auto begin = list.find_first_not_of(between);
    if (begin == std::string_view::npos) return names;
    list.remove_prefix(begin);
    const auto end = std::min(list.find_first_of(between), list.size());
    names.emplace_back(list.substr(0, end));
    list.remove_prefix(end);
  }
}

void append_macros(std::string& out, char command, const std::vector<std::string>& names, const Facts& facts) {
  std::string data(1, command);
  for (const auto& name : names) {
    const auto value = macro_value(facts, name);
    if (value.empty()) continue;
    append_text(data, name);
    append_text(data, value);
  }
  if (data.size() > 1) append_packet(out, command::macros, data);
}

}  // namespace smtpd::milter
