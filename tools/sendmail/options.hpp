#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/sendmail/status.hpp"

/// The command line that programs know from every other sendmail. No I/O.
namespace tools::sendmail {

enum class Mode : std::uint8_t {
  send,         ///< -bm, or nothing: a message on standard input
  talk,         ///< -bs: SMTP on standard input and output
  list_queue,   ///< -bp, or called as mailq
  flush_queue,  ///< -q
  nothing,      ///< -bi, or called as newaliases: aliases are the directory's, always in force
  help,
  version,
};

struct Options {
  Mode mode = Mode::send;
  std::optional<std::string> sender;  ///< -f, -r; empty: the null reverse-path
  std::string full_name;              ///< -F
  bool from_header = false;           ///< -t
  bool dot_ends = true;               ///< off: -i, -oi
  bool eight_bit = false;             ///< -B8BITMIME
  std::string notify;                 ///< -N, as NOTIFY= takes it
  std::string return_content;         ///< -R: FULL, HDRS
  std::string envelope_id;            ///< -V, as it was given
  std::string domain;                 ///< -qRDOMAIN: of what -q flushes; empty: all
  std::string config;                 ///< -c, -C
  std::vector<std::string> recipients;
};

/// `name`: as what the program was called. Options stand anywhere up to "--". What other sendmails take and means
/// nothing here is passed over; what nobody knows is refused.
std::expected<Options, Refusal> parse_options(std::string_view name, const std::vector<std::string>& words);

/// What --help says.
std::string_view usage();

}  // namespace tools::sendmail
