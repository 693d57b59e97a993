#pragma once

#include <cstdint>
#include <deque>
#include <expected>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "smtpd/milter/answer.hpp"
#include "smtpd/milter/facts.hpp"
#include "smtpd/milter/header_section.hpp"
#include "smtpd/milter/packet.hpp"

namespace smtpd::milter {

/// Whether a filter that was told something has an answer to give.
enum class Expects : std::uint8_t { nothing, answer };

/// One filter's view of one SMTP session, without I/O: is told the session's events, gathers packets for those that the
/// filter wants, and says what its answers mean. What it negotiated holds: no more is told, and no more is taken.
/// Events may be told before the answers to those before them are here; each answer belongs to the oldest.
class FilterConversation {
 public:
  /// Packets to be sent; whoever sends them clears it.
  std::string& output() { return output_; }

  /// Offers all that we know; on_negotiated() with the answer, before anything else.
  void negotiate();
  std::expected<void, std::string> on_negotiated(const Packet& packet);

  // Events, in the order of the session. `answer`: on_packet(), until it rules.
  Expects on_connect(const Facts& facts);
  Expects on_helo(std::string_view name, const Facts& facts);
  /// `path` with its brackets; the parameters as they came, apart from each other by spaces.
  Expects on_mail(std::string_view path, std::string_view parameters, const Facts& facts);
  Expects on_rcpt(std::string_view path, std::string_view parameters, const Facts& facts);
  Expects on_data(const Facts& facts);
  Expects on_header(const HeaderField& field);
  Expects on_end_of_header(const Facts& facts);
  /// Only the head of the packet is in output(): so many octets follow.
  Expects on_body(std::size_t octets);
  Expects on_end_of_message(const Facts& facts);
  Expects on_unknown(std::string_view line);
  /// The message that it knows of comes to nothing; no answer.
  void on_abort();
  /// The message is settled, also for one that let it pass before its end.
  void on_settled() { message_open_ = false; }
  void on_quit();

  /// An answer, to the oldest event that expects one. Ruled ends it, after anything else it goes on. Error: it broke
  /// the protocol, and nothing that it said of this message counts.
  std::expected<Answer, std::string> on_packet(const Packet& packet);

  /// There are events that expect an answer.
  bool expects_answer() const { return !asked_.empty(); }

  /// It said that it wants to see no more of the connection.
  bool leaves() const { return connection_done_; }
  bool wants_headers() const { return takes_part() && !has(habit::no_headers); }
  bool wants_body() const { return takes_part() && !has(habit::no_body) && !body_skipped_; }
  /// The message is still its business.
  bool takes_part() const { return message_open_ && !message_done_ && !connection_done_; }
  LeadingSpace leading_space() const {
    return has(habit::leading_space) ? LeadingSpace::part_of_value : LeadingSpace::separate;
  }

 private:
  bool has(std::uint32_t bit) const { return (habits_ & bit) != 0; }
  bool may(std::uint32_t bit) const { return (actions_ & bit) != 0; }
  bool wants(Event event) const;
  const std::vector<std::string>& macros_of(Event event) const;
  Expects tell(Event event, std::string_view data, const Facts& facts);
  Expects tell_envelope(Event event, std::string_view path, std::string_view parameters, const Facts& facts);
  Expects expect(Event event);
  std::expected<Answer, std::string> rule(Ruled ruled);

  std::string output_;
  std::uint32_t version_ = 0, actions_ = 0, habits_ = 0;
  std::map<Event, std::vector<std::string>> chosen_;  ///< macros, where it does not take the usual ones
  std::deque<Event> asked_;
  bool connection_done_ = false;
  bool message_open_ = false;
  bool message_done_ = false;
  bool body_skipped_ = false;
};

}  // namespace smtpd::milter
