#include "smtpd/report/reporter.hpp"

#include <algorithm>
#include <random>

#include "common/address.hpp"

#include "smtpd/routing/resolver.hpp"

namespace smtpd::report {
namespace {

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

/// Who gets it: found as any recipient's way is.
mailstore::Result<bool> add_recipient(mailstore::DirectoryView& directory, const std::string& text,
                                      const std::string& default_domain, mailstore::Envelope& envelope) {
  auto address = common::parse_address(text);
  if (!address) return false;
  auto found = routing::resolve(directory, *address, default_domain, routing::Relay::allowed);
  if (!found) return std::unexpected(std::move(found.error()));
  if (found->outcome != routing::Outcome::found) return false;
  for (auto& target : found->targets) {
    const bool there = std::ranges::any_of(
        envelope.owners, [&](const mailstore::Owner& owner) { return owner.mailbox == target.mailbox; });
    if (there) continue;
    mailstore::Owner owner;
    owner.mailbox = target.mailbox;
    owner.delivered_to = std::move(target.address);
    envelope.owners.push_back(std::move(owner));
  }
  for (auto& remote : found->remotes) {
    const bool there =
        std::ranges::any_of(envelope.remotes, [&](const mailstore::Remote& other) { return other.address == remote; });
    if (there) continue;
    mailstore::Remote next;
    next.address = std::move(remote);
    next.notify = mailstore::notify_never;  // RFC 3461 6.1
    envelope.remotes.push_back(std::move(next));
  }
  return true;
}

const std::string& sender_domain(const Reporting& reporting, const mailstore::Envelope& to) {
  if (!to.remotes.empty() && !reporting.masquerade.empty()) return reporting.masquerade;
  return reporting.default_domain.empty() ? reporting.hostname : reporting.default_domain;
}

}  // namespace

Reporting make_reporting(const common::config::Server& server) {
  return {server.id, server.hostname, server.default_domain, server.messages.ndr_copy, server.messages.masquerade};
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
    auto added = add_recipient(*directory, envelope.reverse_path, reporting.default_domain, to);
    if (added && !*added) co_return std::unexpected(Refusal::nobody_there);
    if (added && any_failed && !reporting.ndr_copy.empty())
      added = add_recipient(*directory, reporting.ndr_copy, reporting.default_domain, to);
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

}  // namespace smtpd::report
