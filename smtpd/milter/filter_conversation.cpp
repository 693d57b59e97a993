#include "smtpd/milter/filter_conversation.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace smtpd::milter {
namespace {

/// Refused recipients are not shown to filters.
constexpr std::uint32_t offered_habits = habit::all & ~habit::refused_recipients;

/// What the protocol has for an event.
struct Row {
  Event event;
  char command;
  std::uint32_t unwanted;  ///< 0: cannot be declined
  std::uint32_t silent;    ///< 0: always has an answer
};
constexpr auto rows = std::to_array<Row>({
    {Event::connect, command::connect, habit::no_connect, habit::silent_connect},
    {Event::helo, command::helo, habit::no_helo, habit::silent_helo},
    {Event::mail, command::mail, habit::no_mail, habit::silent_mail},
    {Event::rcpt, command::rcpt, habit::no_rcpt, habit::silent_rcpt},
    {Event::data, command::data, habit::no_data, habit::silent_data},
    {Event::end_of_header, command::end_of_header, habit::no_end_of_header, habit::silent_end_of_header},
    {Event::end_of_message, command::end_of_message, 0, 0},
    {Event::unknown, command::unknown, habit::no_unknown, habit::silent_unknown},
    {Event::header, command::header, habit::no_headers, habit::silent_header},
    {Event::body, command::body, habit::no_body, habit::silent_body},
});
const Row& row_of(Event event) {
  return rows[static_cast<std::size_t>(event)];
}

/// The stages of SMFIR_SETSYMLIST, by their numbers.
constexpr auto stages = std::to_array<Event>(
    {Event::connect, Event::helo, Event::mail, Event::rcpt, Event::data, Event::end_of_message, Event::end_of_header});

/// What a filter must have asked for to answer so; 0: nothing.
struct Needs {
  std::uint32_t operator()(const AddHeader&) const { return action::add_headers; }
  // libmilter wants SMFIF_ADDHDRS for smfi_insheader too.
  std::uint32_t operator()(const InsertHeader&) const { return action::add_headers; }
  std::uint32_t operator()(const ChangeHeader&) const { return action::change_headers; }
  std::uint32_t operator()(const ReplaceBody&) const { return action::change_body; }
  std::uint32_t operator()(const ChangeSender&) const { return action::change_sender; }
  std::uint32_t operator()(const AddRecipient& added) const {
    return added.arguments.empty() ? action::add_recipients | action::add_recipients_with_arguments
                                   : action::add_recipients_with_arguments;
  }
  std::uint32_t operator()(const RemoveRecipient&) const { return action::remove_recipients; }
  std::uint32_t operator()(const Quarantine&) const { return action::quarantine; }
  std::uint32_t operator()(const Ruled&) const { return 0; }
  std::uint32_t operator()(const Progress&) const { return 0; }
};

}  // namespace

void FilterConversation::negotiate() {
  std::string data;
  append_number(data, newest_version);
  append_number(data, action::all);
  append_number(data, offered_habits);
  append_packet(output_, command::negotiate, data);
}

std::expected<void, std::string> FilterConversation::on_negotiated(const Packet& packet) {
  if (packet.command != command::negotiate) return std::unexpected("no answer to the negotiation");
  Fields fields{packet.data};
  const auto version = fields.number();
  const auto actions = fields.number();
  const auto habits = fields.number();
  if (!version || !actions || !habits) return std::unexpected("a negotiation cut short");
  if (*version < oldest_version || *version > newest_version)
    return std::unexpected(fmt::format("version {} of the protocol; 2 to 6 are known", *version));
  if ((*actions & ~action::all) != 0) return std::unexpected("actions that were not offered");
  if ((*habits & ~offered_habits) != 0) return std::unexpected("protocol steps that were not offered");
  version_ = *version;
  actions_ = *actions;
  habits_ = *habits;
  chosen_.clear();
  while (!fields.at_end()) {
    const auto stage = fields.number();
    const auto names = fields.text();
    if (!stage || !names || *stage >= stages.size()) return std::unexpected("a list of macros for no known stage");
    chosen_[stages[*stage]] = split_macro_names(*names);
  }
  return {};
}

const std::vector<std::string>& FilterConversation::macros_of(Event event) const {
  static const auto usual = [] {
    std::array<std::vector<std::string>, events_with_macros> names;
    for (std::size_t i = 0; i < names.size(); ++i) names[i] = split_macro_names(default_macros(static_cast<Event>(i)));
    return names;
  }();
  const auto chosen = chosen_.find(event);
  return chosen != chosen_.end() ? chosen->second : usual[static_cast<std::size_t>(event)];
}

bool FilterConversation::wants(Event event) const {
  if (connection_done_) return false;
  const bool of_message = event != Event::connect && event != Event::helo && event != Event::unknown;
  if (of_message && !takes_part()) return false;
  // These commands came with later versions.
  if (event == Event::unknown && version_ < 3) return false;
  if (event == Event::data && version_ < 4) return false;
  return !has(row_of(event).unwanted);
}

Expects FilterConversation::expect(Event event) {
  if (has(row_of(event).silent)) return Expects::nothing;
  asked_.push_back(event);
  return Expects::answer;
}

Expects FilterConversation::tell(Event event, std::string_view data, const Facts& facts) {
  if (!wants(event)) return Expects::nothing;
  const Row& row = row_of(event);
  append_macros(output_, row.command, macros_of(event), facts);
  append_packet(output_, row.command, data);
  return expect(event);
}

Expects FilterConversation::on_connect(const Facts& facts) {
  std::string data;
  const bool numeric = facts.client_address != "unix";
  if (!facts.client_name.empty()) {
    append_text(data, facts.client_name);
  } else {
    append_text(data, numeric ? "[" + facts.client_address + "]" : "localhost");
  }
  if (numeric) {
    data.push_back(facts.client_address.find(':') == std::string::npos ? '4' : '6');
    data.push_back(static_cast<char>(facts.client_port >> 8U));
    data.push_back(static_cast<char>(facts.client_port & 0xffU));
    append_text(data, facts.client_address);
  } else {
    data.push_back('U');
  }
  return tell(Event::connect, data, facts);
}

Expects FilterConversation::on_helo(std::string_view name, const Facts& facts) {
  std::string data;
  append_text(data, name);
  return tell(Event::helo, data, facts);
}

Expects FilterConversation::tell_envelope(Event event, std::string_view path, std::string_view parameters,
                                          const Facts& facts) {
  std::string data;
  append_text(data, path);
  while (!parameters.empty()) {
    const auto end = std::min(parameters.find(' '), parameters.size());
    if (end != 0) append_text(data, parameters.substr(0, end));
    parameters.remove_prefix(std::min(end + 1, parameters.size()));
  }
  return tell(event, data, facts);
}

Expects FilterConversation::on_mail(std::string_view path, std::string_view parameters, const Facts& facts) {
  message_open_ = true;
  message_done_ = false;
  body_skipped_ = false;
  return tell_envelope(Event::mail, path, parameters, facts);
}

Expects FilterConversation::on_rcpt(std::string_view path, std::string_view parameters, const Facts& facts) {
  return tell_envelope(Event::rcpt, path, parameters, facts);
}

Expects FilterConversation::on_data(const Facts& facts) {
  return tell(Event::data, {}, facts);
}

Expects FilterConversation::on_header(const HeaderField& field) {
  if (field.name_size == 0 || !wants(Event::header)) return Expects::nothing;
  std::string data;
  append_text(data, field.name());
  append_text(data, HeaderSection::value_for_filter(field, leading_space()));
  append_packet(output_, command::header, data);
  return expect(Event::header);
}

Expects FilterConversation::on_end_of_header(const Facts& facts) {
  return tell(Event::end_of_header, {}, facts);
}

Expects FilterConversation::on_body(std::size_t octets) {
  if (!wants_body()) return Expects::nothing;
  output_ += packet_head(command::body, octets);
  return expect(Event::body);
}

Expects FilterConversation::on_end_of_message(const Facts& facts) {
  return tell(Event::end_of_message, {}, facts);
}

Expects FilterConversation::on_unknown(std::string_view line) {
  std::string data;
  append_text(data, line);
  return tell(Event::unknown, data, Facts{});
}

void FilterConversation::on_abort() {
  if (message_open_ && !connection_done_) append_packet(output_, command::abort, {});
  message_open_ = false;
}

void FilterConversation::on_quit() {
  append_packet(output_, command::quit, {});
}

std::expected<Answer, std::string> FilterConversation::on_packet(const Packet& packet) {
  if (asked_.empty()) return std::unexpected("an answer to nothing");
  auto answer = parse_answer(packet);
  if (!answer) return answer;
  if (auto* ruled = std::get_if<Ruled>(&*answer)) return rule(std::move(*ruled));
  if (std::holds_alternative<Progress>(*answer)) return answer;
  if (asked_.front() != Event::end_of_message) return std::unexpected("a change of the message before its end");
  if (!may(std::visit(Needs{}, *answer))) return std::unexpected("a change that was not negotiated");
  return answer;
}

std::expected<Answer, std::string> FilterConversation::rule(Ruled ruled) {
  const Event event = asked_.front();
  const bool of_connection = event == Event::connect || event == Event::helo;
  switch (ruled.ruling) {
    case Ruling::accept:
      (of_connection ? connection_done_ : message_done_) = true;
      break;
    case Ruling::discard:
      if (of_connection || event == Event::unknown) return std::unexpected("a connection cannot be discarded");
      break;
    case Ruling::skip:
      // libmilter sends it wherever it was offered, and it was.
      if (event != Event::body) return std::unexpected("there is nothing to skip");
      body_skipped_ = true;
      break;
    default:
      break;
  }
  asked_.pop_front();
  if (event == Event::end_of_message) message_open_ = false;
  return ruled;
}

}  // namespace smtpd::milter
