#include "smtpd/report/reporter.hpp"

#include <algorithm>
#include <chrono>
#include <random>
#include <utility>

#include "common/log.hpp"

#include "smtpd/report/recipient.hpp"

namespace smtpd::report {
namespace {

namespace log = common::log;

/// A whole message up to here goes back with the report of its failure.
constexpr std::uint64_t most_returned = 1U << 20U;
constexpr std::size_t piece_octets = 64 * 1024;

/// Copies stored octets and counts what the report has to know of them.
class Copy {
 public:
  explicit Copy(Returned returned) : header_only_(returned == Returned::header) {}

  /// What of `piece` goes back. Lines that begin with a dot have one more, which nobody sees.
  std::string_view take(std::string_view piece) {
    std::size_t at = 0;
    for (; at < piece.size() && !over_; ++at) {
      const char c = piece[at];
      if (line_start_ && c == '.') ++dots_;
      if (static_cast<unsigned char>(c) >= 0x80) eight_bit_ = true;
      if (c == '\n' && before_ == '\r') {
        over_ = header_only_ && line_octets_ == 1;
        line_start_ = true;
        line_octets_ = 0;
      } else {
        line_start_ = false;
        ++line_octets_;
      }
      before_ = c;
    }
    return piece.substr(0, at);
  }
  bool over() const { return over_; }
  std::uint64_t dots() const { return dots_; }
  bool eight_bit() const { return eight_bit_; }

 private:
  bool header_only_;
  bool over_ = false;
  bool line_start_ = true;
  bool eight_bit_ = false;
  char before_ = 0;
  std::size_t line_octets_ = 0;
  std::uint64_t dots_ = 0;
};

const std::string& sender_domain(const Reporting& reporting, const mailstore::Envelope& to) {
  if (!to.remotes.empty() && !reporting.masquerade.empty()) return reporting.masquerade;
  return reporting.default_domain.empty() ? reporting.hostname : reporting.default_domain;
}

}  // namespace

Reporting make_reporting(const common::config::Server& server, std::shared_ptr<const routing::Srs> srs) {
  return {server.id,     server.hostname, server.default_domain, server.messages.ndr_copy, server.messages.masquerade,
          std::move(srs)};
}

asio::awaitable<std::expected<mailstore::Successor, Reporter::Refusal>> Reporter::make(
    const Reporting& reporting, mailstore::MessageId id, const mailstore::Envelope& envelope,
    const mailstore::OpenMessage& original, std::vector<Recipient> recipients) {
  if (envelope.reverse_path.empty()) co_return std::unexpected(Refusal::no_reverse_path);
  const bool any_failed =
      std::ranges::any_of(recipients, [](const Recipient& r) { return r.action == Action::failed; });

  mailstore::Envelope to;
  to.server = reporting.server;
  {
    const auto directory = store_.directory();
    const routing::Returns returns{*reporting.srs, std::chrono::floor<std::chrono::days>(clock_.wall())};
    auto added = add_recipient(*directory, envelope.reverse_path, reporting.default_domain, returns, to);
    if (added && !*added) co_return std::unexpected(Refusal::nobody_there);
    if (added && any_failed && !reporting.ndr_copy.empty())
      added = add_recipient(*directory, reporting.ndr_copy, reporting.default_domain, returns, to);
    if (!added) co_return std::unexpected(Refusal::trouble);
  }

  // Read once to learn what is in it, and a second time into the report: reports are rare, and memory is not for them.
  const auto returned = choose_returned(envelope.return_content, any_failed, original.stored_octets, most_returned);
  std::string piece(piece_octets, '\0');
  Copy look{returned};
  for (std::uint64_t at = 0; at < original.stored_octets && !look.over();) {
    const auto got = original.read(at, piece);
    if (!got) co_return std::unexpected(Refusal::trouble);
    look.take(std::string_view{piece}.substr(0, *got));
    at += *got;
  }

  auto beginning = store_.begin();
  auto draft = co_await std::move(beginning);
  if (!draft) co_return std::unexpected(Refusal::trouble);

  Subject subject;
  subject.id = mailstore::format_id(id);
  subject.reverse_path = envelope.reverse_path;
  subject.envelope_id = envelope.envelope_id;
  subject.eight_bit = look.eight_bit();
  subject.utf8 = envelope.utf8;
  subject.arrived = std::chrono::floor<std::chrono::seconds>(mailstore::accepted_at(id));
  Stamp stamp;
  stamp.id = mailstore::format_id(draft->id());
  stamp.hostname = reporting.hostname;
  stamp.sender = "postmaster@" + sender_domain(reporting, to);
  std::random_device device;
  stamp.chance = std::uint64_t{device()} << 32U | device();
  stamp.time = std::chrono::floor<std::chrono::seconds>(clock_.wall());
  const auto around = format_report(subject, recipients, stamp, returned);
  to.eight_bit = around.eight_bit;
  to.utf8 = around.utf8;

  draft->append(around.front);
  Copy copy{returned};
  std::uint64_t copied = 0;
  for (std::uint64_t at = 0; at < original.stored_octets && !copy.over();) {
    const auto got = original.read(at, piece);
    if (!got) co_return std::unexpected(Refusal::trouble);
    const auto goes_back = copy.take(std::string_view{piece}.substr(0, *got));
    draft->append(goes_back);
    copied += goes_back.size();
    at += *got;
    if (!draft->wants_spill()) continue;
    auto spilling = draft->spill();
    const auto spilled = co_await std::move(spilling);
    if (!spilled) co_return std::unexpected(Refusal::trouble);
  }
  draft->append(around.back);

  mailstore::BodyFacts facts;
  facts.octets = around.front.size() + copied - copy.dots() + around.back.size();
  facts.header_octets = around.header_octets;
  facts.stuffed = copy.dots() != 0;
  co_return mailstore::Successor{std::move(*draft), std::move(to), facts};
}

asio::awaitable<void> Reporter::send(const Reporting& reporting, mailstore::MessageId id,
                                     const mailstore::Envelope& envelope, const mailstore::OpenMessage& original,
                                     std::vector<Recipient> recipients) {
  const auto about = mailstore::format_id(id);
  const auto at = std::chrono::floor<std::chrono::seconds>(clock_.wall());
  for (auto& recipient : recipients) recipient.tried = at;
  auto making = make(reporting, id, envelope, original, std::move(recipients));
  auto made = co_await std::move(making);
  if (!made) {
    const bool trouble = made.error() == Refusal::trouble;
    log::write(trouble ? common::config::LogLevel::warning : common::config::LogLevel::info, "message.not_reported",
               {{"id", about},
                {"to", envelope.reverse_path},
                {"why", trouble ? "the store could not take the report" : "nobody is there"}});
    co_return;
  }
  const auto report_id = mailstore::format_id(made->draft.id());
  auto accepting = store_.accept(std::move(made->draft), std::move(made->envelope), made->facts);
  const auto accepted = co_await std::move(accepting);
  if (!accepted) {
    log::warning("message.not_reported",
                 {{"id", about}, {"to", envelope.reverse_path}, {"why", accepted.error().detail}});
    co_return;
  }
  log::info("message.report", {{"id", report_id}, {"about", about}, {"to", envelope.reverse_path}});
}

}  // namespace smtpd::report
