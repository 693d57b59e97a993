#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>

/// The milter protocol, version 6, as Sendmail and libmilter speak it: packets of a length (four octets, big-endian), a
/// command and its data. No I/O.
namespace smtpd::milter {

inline constexpr std::uint32_t newest_version = 6;
inline constexpr std::uint32_t oldest_version = 2;
/// Pieces of a body are this long at most; no version takes less.
inline constexpr std::size_t body_piece_limit = 65'535;
/// Of what a filter sends. A filter of version 6 may be allowed a megabyte by its mail server (SMFIP_MDS_1M); no honest
/// packet is longer.
inline constexpr std::size_t packet_limit = 1024 * 1024 + 64;

/// One packet. `data` is a view.
struct Packet {
  char command = 0;
  std::string_view data;
};

/// What we tell a filter.
namespace command {
inline constexpr char negotiate = 'O', macros = 'D', connect = 'C', helo = 'H', mail = 'M', rcpt = 'R', data = 'T',
                      header = 'L', end_of_header = 'N', body = 'B', end_of_message = 'E', unknown = 'U', abort = 'A',
                      quit = 'Q';
}

/// What a filter wants to do to messages (SMFIF_*).
namespace action {
inline constexpr std::uint32_t add_headers = 0x1, change_body = 0x2, add_recipients = 0x4, remove_recipients = 0x8,
                               change_headers = 0x10, quarantine = 0x20, change_sender = 0x40,
                               add_recipients_with_arguments = 0x80, choose_macros = 0x100, all = 0x1ff;
}

/// What a filter does not want to hear (SMFIP_NO*), or hears without an answer (SMFIP_NR_*), and further habits.
namespace habit {
inline constexpr std::uint32_t no_connect = 0x1, no_helo = 0x2, no_mail = 0x4, no_rcpt = 0x8, no_body = 0x10,
                               no_headers = 0x20, no_end_of_header = 0x40, silent_header = 0x80, no_unknown = 0x100,
                               no_data = 0x200, skip = 0x400, refused_recipients = 0x800, silent_connect = 0x1000,
                               silent_helo = 0x2000, silent_mail = 0x4000, silent_rcpt = 0x8000, silent_data = 0x10000,
                               silent_unknown = 0x20000, silent_end_of_header = 0x40000, silent_body = 0x80000,
                               leading_space = 0x100000, all = 0x1fffff;
}

void append_packet(std::string& out, char command, std::string_view data);
/// The length and the command of a packet whose data follow elsewhere.
std::string packet_head(char command, std::size_t data_octets);
void append_number(std::string& out, std::uint32_t number);
/// `text` up to its first NUL, and one behind it.
void append_text(std::string& out, std::string_view text);

/// Takes the values of a packet one by one.
class Fields {
 public:
  explicit Fields(std::string_view data) : rest_(data) {}
  std::optional<std::uint32_t> number();
  /// Up to its NUL; nullopt: there is none.
  std::optional<std::string_view> text();
  bool at_end() const { return rest_.empty(); }

 private:
  std::string_view rest_;
};

/// Finds packets in what a filter sends, in any cuts. Owns no memory between whole packets.
class PacketReader {
 public:
  void feed(std::string_view octets);
  /// The next whole packet, which holds until the next call of anything here; nullopt: there is none yet. Error: what
  /// came is no packet, and never will be.
  std::expected<std::optional<Packet>, std::string> next();
  /// Nothing is here that was not taken.
  bool empty() const { return at_ == held_.size(); }

 private:
  std::string held_;
  std::size_t at_ = 0;
};

}  // namespace smtpd::milter
