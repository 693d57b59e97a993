#include "smtpd/outbound/masquerade.hpp"

#include <utility>

namespace smtpd::outbound {

mailstore::Result<std::string> leaving_path(mailstore::DirectoryView& directory, const mailstore::Envelope& envelope,
                                            std::string_view masquerade) {
  const std::string& path = envelope.reverse_path;
  const auto at = path.rfind('@');
  // What strangers sent, and an alias of ours passes on, keeps its author's name. The null reverse-path has no domain.
  if (masquerade.empty() || envelope.authenticated.empty() || at == path.npos) return path;
  const auto domain = directory.domain(std::string_view{path}.substr(at + 1));
  if (!domain) return std::unexpected(domain.error());
  using enum mailstore::DomainKind;
  if (!*domain || ((*domain)->kind != local && (*domain)->kind != alias)) return path;
  std::string changed = path.substr(0, at + 1);
  changed += masquerade;
  return changed;
}

}  // namespace smtpd::outbound
