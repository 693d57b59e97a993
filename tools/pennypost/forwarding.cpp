#include "tools/pennypost/forwarding.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <fstream>
#include <iostream>
#include <iterator>

#include "common/utf8.hpp"

#include "tools/pennypost/names.hpp"
#include "tools/pennypost/program.hpp"

namespace tools {
namespace {

/// Whether a day that is named without a time means its beginning or its end.
enum class DayMeans : std::uint8_t { beginning, end };

/// "2026-12-24", "2026-12-24T18:00", "2026-12-24 18:00:30", in this machine's time; a Z behind it: UTC. Microseconds
/// since the Unix epoch.
std::optional<std::uint64_t> parse_date(std::string text, DayMeans means) {
  const bool utc = text.ends_with('Z');
  if (utc) text.pop_back();
  std::ranges::replace(text, 'T', ' ');
  for (const char* form : {"%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S"}) {
    std::tm parts{};
    const char* end = ::strptime(text.c_str(), form, &parts);
    if (end == nullptr || *end != '\0') continue;
    if (text.size() == 10 && means == DayMeans::end) ++parts.tm_mday;
    // What is no day, as the 30th of February, becomes another one by these calls.
    const auto wanted = parts;
    parts.tm_isdst = -1;
    const auto time = utc ? ::timegm(&parts) : ::mktime(&parts);
    const bool same_day =
        parts.tm_mday == wanted.tm_mday || (text.size() == 10 && means == DayMeans::end && parts.tm_mday == 1);
    if (time < 0 || !same_day) return std::nullopt;
    return static_cast<std::uint64_t>(time) * 1'000'000;
  }
  return std::nullopt;
}

std::uint64_t need_date(std::string_view option, const std::string& text, DayMeans means) {
  if (text == "none") return 0;
  const auto time = parse_date(text, means);
  if (!time) {
    refuse(fmt::format("{} {}: not a date; write 2026-12-24, or with a time of day 2026-12-24T18:00, or none", option,
                       text));
  }
  return *time;
}

std::string read_text(const std::string& file) {
  std::string text;
  if (file == "-") {
    text.assign(std::istreambuf_iterator<char>(std::cin), {});
  } else {
    std::ifstream in(file, std::ios::binary);
    if (in) text.assign(std::istreambuf_iterator<char>(in), {});
    if (!in) refuse(fmt::format("--auto-reply-file {}: {}", file, std::strerror(errno)));
  }
  if (text.size() > mailstore::auto_reply_text_limit) {
    refuse(fmt::format("--auto-reply-file {}: {} octets are too long; {} at most", file, text.size(),
                       mailstore::auto_reply_text_limit));
  }
  if (!common::is_utf8(text) || text.contains('\0'))
    refuse(fmt::format("--auto-reply-file {}: not text in UTF-8; save it as that", file));
  return text;
}

std::string format_moment(std::uint64_t microseconds) {
  const std::chrono::sys_seconds time{std::chrono::seconds{microseconds / 1'000'000}};
  return fmt::format("{:%Y-%m-%d %H:%M} UTC", time);
}

}  // namespace

void add_forward_options(CLI::App* command, const std::shared_ptr<ForwardOptions>& options) {
  auto* to = command->add_option("--forward", options->targets,
                                 "Its mail goes on to these addresses, in place of those that were set before");
  to->type_name("ADDRESS");
  auto* keep = command->add_flag("--keep-copy", options->keep_copy, "What goes on stays here, too");
  command->add_flag("--no-keep-copy", options->no_copy, "What goes on does not stay here")->excludes(keep);
  command->add_flag("--no-forward", options->none, "Its mail stays here, all of it")->excludes(to)->excludes(keep);
}

void add_auto_reply_options(CLI::App* command, const std::shared_ptr<AutoReplyOptions>& options) {
  auto* none = command->add_flag("--no-auto-reply", options->none, "It answers nobody by itself");
  const auto option = [&](const char* name, std::string& value, const char* type, const char* description) {
    command->add_option(name, value, description)->type_name(type)->excludes(none);
  };
  option("--auto-reply-file", options->file, "FILE",
         "It answers by itself with the text in this file, in UTF-8; -: standard input");
  option("--auto-reply-subject", options->subject, "TEXT",
         "The subject of its answer; none: that of the message with Auto: in front");
  option("--auto-reply-from", options->from, "DATE",
         "It answers from then on: 2026-12-24, or 2026-12-24T18:00; none: now");
  option("--auto-reply-until", options->until, "DATE", "The last day on which it does, or a time; none: for ever");
}

void apply(const ForwardOptions& options, const mailstore::Mailbox& mailbox, mailstore::MailboxChange& change) {
  if (!options.given()) return;
  auto forward = mailbox.forward;
  bool keep_copy = mailbox.keep_copy;
  if (options.none) {
    forward.clear();
    keep_copy = false;
  }
  if (!options.targets.empty()) {
    forward.clear();
    keep_copy = false;
    for (const auto& text : options.targets) {
      auto target = parse_given_address(text).key;
      if (target == mailbox.address) {
        refuse(fmt::format("--forward {}: that is the mailbox itself; say --keep-copy for a copy that stays here",
                           target));
      }
      if (std::ranges::find(forward, target) == forward.end()) forward.push_back(std::move(target));
    }
  }
  if (options.keep_copy) keep_copy = true;
  if (options.no_copy) keep_copy = false;
  if (keep_copy && forward.empty())
    refuse("--keep-copy: this mailbox forwards nothing, and keeps all; say --forward ADDRESS, too");
  if (forward != mailbox.forward) change.forward = std::move(forward);
  if (keep_copy != mailbox.keep_copy) change.keep_copy = keep_copy;
}

void apply(const AutoReplyOptions& options, const std::optional<mailstore::AutoReply>& before,
           mailstore::MailboxChange& change) {
  if (!options.given()) return;
  if (options.none) {
    if (before) change.auto_reply.emplace(std::nullopt);
    return;
  }
  auto reply = before.value_or(mailstore::AutoReply{});
  if (!options.file.empty()) reply.text = read_text(options.file);
  if (!options.subject.empty()) reply.subject = options.subject == "none" ? std::string() : options.subject;
  if (reply.subject.size() > mailstore::auto_reply_subject_limit || !common::is_utf8(reply.subject)) {
    refuse(fmt::format("--auto-reply-subject: at most {} octets of UTF-8", mailstore::auto_reply_subject_limit));
  }
  if (!options.from.empty()) reply.from = need_date("--auto-reply-from", options.from, DayMeans::beginning);
  if (!options.until.empty()) reply.until = need_date("--auto-reply-until", options.until, DayMeans::end);
  if (reply.until != 0 && reply.until <= reply.from) refuse("--auto-reply-until: that is not behind --auto-reply-from");
  if (!before && options.file.empty() && options.subject.empty())
    refuse("this mailbox has no automatic reply yet; say --auto-reply-file FILE or --auto-reply-subject TEXT, too");
  if (before != reply) change.auto_reply.emplace(std::move(reply));
}

std::string describe_forward(const mailstore::Mailbox& mailbox) {
  if (mailbox.forward.empty()) return {};
  return fmt::format("forwards to {}, {}", fmt::join(mailbox.forward, ", "),
                     mailbox.keep_copy ? "and keeps a copy" : "without a copy");
}

std::string describe_auto_reply(const mailstore::AutoReply& reply) {
  return fmt::format("answers by itself{}{}", reply.from == 0 ? "" : " from " + format_moment(reply.from),
                     reply.until == 0 ? "" : " until " + format_moment(reply.until));
}

}  // namespace tools
