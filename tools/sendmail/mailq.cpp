#include "tools/sendmail/mailq.hpp"

#include <fmt/format.h>

#include <ctime>
#include <nlohmann/json.hpp>

#include "common/escape.hpp"

namespace tools::sendmail {
namespace {

std::string text_of(const nlohmann::json& row, const char* key) {
  const auto found = row.find(key);
  return found != row.end() && found->is_string() ? common::escape(found->get<std::string>(), 1000) : std::string{};
}

/// "2026-11-25T22:41:26Z" as "Wed Nov 25 22:41:26", here.
std::string local_time(const std::string& text) {
  std::tm parts{};
  if (::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &parts) == nullptr) return text;
  const std::time_t seconds = ::timegm(&parts);
  std::tm here{};
  ::localtime_r(&seconds, &here);
  std::string out(32, '\0');
  out.resize(std::strftime(out.data(), out.size(), "%a %b %e %H:%M:%S", &here));
  return out;
}

}  // namespace

std::string MailQueue::add(std::string_view line) {
  const auto begin = line.find('{');
  const auto end = line.rfind('}');
  if (begin == std::string_view::npos || end == std::string_view::npos || end < begin) return {};
  const auto row = nlohmann::json::parse(line.substr(begin, end + 1 - begin), nullptr, false);
  if (!row.is_object()) return {};

  std::string out;
  if (messages_ == 0) out += "-Queue ID-      --Size-- ----Arrival Time---- -Sender/Recipient-------\n";
  const auto id = text_of(row, "id");
  if (id != id_) {
    const auto octets = row.value("octets", std::uint64_t{0});
    const auto state = text_of(row, "state");
    // Postfix's marks: being sent, held.
    const char mark = state == "active" ? '*' : state == "held" ? '!' : ' ';
    const auto sender = text_of(row, "reverse_path");
    if (messages_ != 0) out += '\n';
    out += fmt::format("{}{} {:>9} {}  {}\n", id, mark, octets, local_time(text_of(row, "accepted")),
                       sender.empty() ? "MAILER-DAEMON" : sender);
    ++messages_;
    octets_ += octets;
    id_ = id;
    answer_.clear();
  }
  const auto answer = text_of(row, "answer");
  if (!answer.empty() && answer != answer_) out += fmt::format("{:>16}({})\n", "", answer);
  answer_ = answer;
  out += fmt::format("{:>46}{}\n", "", text_of(row, "recipient"));
  return out;
}

std::string MailQueue::finish() {
  if (messages_ == 0) return "Mail queue is empty\n";
  return fmt::format("\n-- {} Kbytes in {} Request{}.\n", (octets_ + 1023) / 1024, messages_,
                     messages_ == 1 ? "" : "s");
}

}  // namespace tools::sendmail
