#include "tools/sendmail/options.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace tools::sendmail {
namespace {

using Done = std::expected<void, Refusal>;

/// With an argument, in the same word or the next.
constexpr std::string_view with_argument = "ABCcFfLNOoprRVbXhe";
/// Those of them that mean nothing here: a macro's name (A), a log tag (L), -Oname=value, -oX, -e of old, the
/// protocol (p), a hop count (h), a trace file (X).
constexpr std::string_view passed_over_with = "ALOoepXh";
/// To send to oneself too (m), no aliases (n), mail that is submitted already (G), first submission (U), verbose (v),
/// control dots (I): nothing to do.
constexpr std::string_view passed_over = "mnGUvI";

std::unexpected<Refusal> wrong(std::string why) {
  return std::unexpected(Refusal{Status::usage, std::move(why)});
}

bool same(std::string_view one, std::string_view other) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return std::ranges::equal(one, other, {}, lower, lower);
}

std::string upper(std::string_view text) {
  std::string out{text};
  for (auto& c : out) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return out;
}

Done set_mode(Options& options, std::string_view letter) {
  if (letter == "m")
    options.mode = Mode::send;
  else if (letter == "s")
    options.mode = Mode::talk;
  else if (letter == "p")
    options.mode = Mode::list_queue;
  else if (letter == "i")
    options.mode = Mode::nothing;
  else if (letter == "d" || letter == "D")
    return wrong(fmt::format("-b{}: the daemon is a program of its own, pennypost-smtpd", letter));
  else
    return wrong(fmt::format("-b{}: no such mode; there are -bm, -bs, -bp", letter));
  return {};
}

/// RFC 3461 4.1: NEVER alone, or a list without doubles.
Done set_notify(Options& options, std::string_view text) {
  std::string list;
  bool never = false;
  for (std::size_t at = 0; at <= text.size();) {
    const auto end = std::min(text.find(',', at), text.size());
    const auto word = upper(text.substr(at, end - at));
    at = end + 1;
    if (word == "NEVER") {
      never = true;
    } else if (word != "SUCCESS" && word != "FAILURE" && word != "DELAY") {
      return wrong(fmt::format("-N {}: give never, or success, failure and delay with commas between", text));
    }
    if ((',' + list + ',').contains(',' + word + ',')) return wrong(fmt::format("-N {}: {} stands twice", text, word));
    list += (list.empty() ? "" : ",") + word;
  }
  if (never && list != "NEVER") return wrong(fmt::format("-N {}: never goes with nothing else", text));
  options.notify = std::move(list);
  return {};
}

Done set_flush(Options& options, std::string_view text) {
  options.mode = Mode::flush_queue;
  if (text.empty()) return {};
  if (text.front() == 'R' && text.size() > 1) {
    // Of Sendmail: a part of the recipients' addresses; what people give it is a domain.
    options.domain = text.substr(text[1] == '@' ? 2 : 1);
    if (!options.domain.empty()) return {};
  }
  return wrong(fmt::format("-q{}: pennypost-smtpd looks after the queue itself; there are -q and -qRDOMAIN", text));
}

Done take(Options& options, char letter, std::string_view text) {
  if (passed_over_with.contains(letter)) {
    if (letter == 'o' && text.starts_with('i')) options.dot_ends = false;
    return {};
  }
  switch (letter) {
    case 'f':
    case 'r':
      options.sender = std::string{text};
      return {};
    case 'F':
      options.full_name = text;
      return {};
    case 'C':
    case 'c':
      options.config = text;
      return {};
    case 'B':
      if (same(text, "8BITMIME"))
        options.eight_bit = true;
      else if (!same(text, "7BIT"))
        return wrong(fmt::format("-B {}: give 7BIT or 8BITMIME", text));
      return {};
    case 'N':
      return set_notify(options, text);
    case 'R':
      if (!same(text, "full") && !same(text, "hdrs")) return wrong(fmt::format("-R {}: give full or hdrs", text));
      options.return_content = upper(text);
      return {};
    case 'V':
      // RFC 3461 4.4: printable, and at most 100 octets.
      if (text.empty() || text.size() > 100 || std::ranges::any_of(text, [](char c) { return c < ' ' || c > '~'; }))
        return wrong("-V: give 1 to 100 printable characters");
      options.envelope_id = text;
      return {};
    default:
      return set_mode(options, text);
  }
}

/// One word that begins with a hyphen; `next`: the word behind it, taken when an argument is missing.
Done take_word(Options& options, std::string_view word, const std::string* next, bool& next_taken) {
  for (std::size_t at = 1; at < word.size(); ++at) {
    const char letter = word[at];
    const auto rest = word.substr(at + 1);
    if (letter == 't') {
      options.from_header = true;
    } else if (letter == 'i') {
      options.dot_ends = false;
    } else if (letter == 'q') {
      return set_flush(options, rest);
    } else if (passed_over.contains(letter)) {
      continue;
    } else if (with_argument.contains(letter)) {
      if (!rest.empty()) return take(options, letter, rest);
      if (next == nullptr) return wrong(fmt::format("-{}: its argument is missing", letter));
      next_taken = true;
      return take(options, letter, *next);
    } else {
      return wrong(fmt::format("no such option: -{}; see pennypost-sendmail(1)", letter));
    }
  }
  return {};
}

}  // namespace

std::expected<Options, Refusal> parse_options(std::string_view name, const std::vector<std::string>& words) {
  Options options;
  if (const auto slash = name.rfind('/'); slash != std::string_view::npos) name.remove_prefix(slash + 1);
  if (name == "mailq") options.mode = Mode::list_queue;
  if (name == "newaliases") options.mode = Mode::nothing;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "--") {
      options.recipients.insert(options.recipients.end(), words.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                                words.end());
      break;
    }
    if (word == "--help" || word == "--version") {
      options.mode = word == "--help" ? Mode::help : Mode::version;
      return options;
    }
    if (word == "--config" || word.starts_with("--config=")) {
      const auto equals = word.find('=');
      if (equals == std::string::npos && i + 1 == words.size()) return wrong("--config: its argument is missing");
      options.config = equals == std::string::npos ? words[++i] : word.substr(equals + 1);
      continue;
    }
    if (word.starts_with("--")) return wrong(fmt::format("no such option: {}; see pennypost-sendmail(1)", word));
    if (!word.starts_with('-') || word == "-") {
      options.recipients.push_back(word);
      continue;
    }
    bool next_taken = false;
    auto taken = take_word(options, word, i + 1 < words.size() ? &words[i + 1] : nullptr, next_taken);
    if (!taken) return std::unexpected(std::move(taken.error()));
    if (next_taken) ++i;
  }
  return options;
}

std::string_view usage() {
  return "Usage: pennypost-sendmail [OPTIONS] [RECIPIENT...] < MESSAGE\n"
         "Hands a message of a program to the Pennypost SMTP server of this machine.\n"
         "\n"
         "Options:\n"
         "  -t                recipients are taken from To, Cc and Bcc too; Bcc is removed\n"
         "  -f ADDRESS        the sender (also -r); <>: none\n"
         "  -F NAME           the sender's full name, for a message without From\n"
         "  -i, -oi           a line that is a dot does not end the message\n"
         "  -bm, -bs, -bp     send (as without); speak SMTP; show the queue\n"
         "  -q, -qRDOMAIN     try the queue again now\n"
         "  -N WORDS          reports wanted: never, or success,failure,delay\n"
         "  -R full|hdrs      how much of the message comes back with a report\n"
         "  -V TEXT           an identifier for reports\n"
         "  -B TYPE           7BIT or 8BITMIME\n"
         "  -c, --config FILE the configuration (also -C); else $PENNYPOST_CONFIG, else /etc/pennypost/pennypost.toml\n"
         "  --help, --version\n";
}

}  // namespace tools::sendmail
