#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <vector>

#include "smtpd/milter/answer.hpp"
#include "smtpd/milter/header_section.hpp"

namespace smtpd::milter {

struct RecipientEdit {
  enum class Kind : std::uint8_t { add, remove };
  Kind kind = Kind::add;
  std::string address;    ///< with or without brackets
  std::string arguments;  ///< ESMTP parameters of an added one
};

/// What filters have made of a message, one after the other: each sees what those before it left. The body is not here,
/// it may be long.
struct Edits {
  HeaderSection header;
  std::optional<std::string> sender;  ///< with or without brackets
  std::vector<RecipientEdit> recipients;
  std::optional<std::string> quarantine;  ///< why, on one line

  bool changes_envelope() const { return sender.has_value() || !recipients.empty(); }
  /// Any change but ReplaceBody. Error: more than a message may have.
  std::expected<void, std::string> apply(const Answer& answer, LeadingSpace space);
};

/// "<a@b>" and "a@b" are both a@b.
std::string_view without_brackets(std::string_view path);

}  // namespace smtpd::milter
