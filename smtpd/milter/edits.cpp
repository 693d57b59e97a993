#include "smtpd/milter/edits.hpp"

namespace smtpd::milter {
namespace {

// A header section may come in with a megabyte; filters add to it, and not without end.
constexpr std::uint64_t header_limit = 2U << 20U;
constexpr std::size_t recipients_limit = 10'000;
/// The queue keeps so much of a reason.
constexpr std::size_t reason_limit = 160;

struct Apply {
  Edits& edits;
  LeadingSpace space;
  void operator()(const AddHeader& added) const { edits.header.add(added.name, added.value, space); }
  void operator()(const InsertHeader& added) const { edits.header.insert(added.index, added.name, added.value, space); }
  void operator()(const ChangeHeader& changed) const {
    edits.header.change(changed.index, changed.name, changed.value, space);
  }
  void operator()(const ChangeSender& changed) const { edits.sender = without_brackets(changed.address); }
  void operator()(const AddRecipient& added) const {
    edits.recipients.push_back(
        {RecipientEdit::Kind::add, std::string{without_brackets(added.address)}, std::string{added.arguments}});
  }
  void operator()(const RemoveRecipient& removed) const {
    edits.recipients.push_back({RecipientEdit::Kind::remove, std::string{without_brackets(removed.address)}, {}});
  }
  void operator()(const Quarantine& quarantine) const {
    std::string reason;
    for (const char c : quarantine.reason.substr(0, reason_limit))
      reason.push_back(static_cast<unsigned char>(c) < ' ' || c == '\x7f' ? ' ' : c);
    edits.quarantine = reason.empty() ? "a filter wants it" : std::move(reason);
  }
  void operator()(const ReplaceBody&) const {}
  void operator()(const Ruled&) const {}
  void operator()(const Progress&) const {}
};

}  // namespace

std::expected<void, std::string> Edits::apply(const Answer& answer, LeadingSpace space) {
  std::visit(Apply{*this, space}, answer);
  if (header.octets() > header_limit) return std::unexpected("a header section without end");
  if (recipients.size() > recipients_limit) return std::unexpected("recipients without end");
  return {};
}

std::string_view without_brackets(std::string_view path) {
  if (path.starts_with('<') && path.ends_with('>')) return path.substr(1, path.size() - 2);
  return path;
}

}  // namespace smtpd::milter
