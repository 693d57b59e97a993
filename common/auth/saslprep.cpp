#include "common/auth/saslprep.hpp"

#include <algorithm>
#include <cstring>

#include <gsasl.h>
#include <sodium.h>

namespace common::auth {

std::optional<Secret> saslprep(std::string_view text, Prepare purpose) {
  if (std::ranges::all_of(text, [](char c) { return c >= 0x20 && c < 0x7f; })) return Secret{std::string{text}};
  if (text.find('\0') != text.npos) return std::nullopt;

  const Secret terminated{std::string{text}};
  char* prepared = nullptr;
  // 0 is the flag's absence; the enumeration has no name for it.
  const auto flags = purpose == Prepare::query ? GSASL_ALLOW_UNASSIGNED : static_cast<Gsasl_saslprep_flags>(0);
  if (gsasl_saslprep(terminated.reveal().data(), flags, &prepared, nullptr) != GSASL_OK) return std::nullopt;
  Secret out{std::string{prepared}};
  sodium_memzero(prepared, std::strlen(prepared));
  gsasl_free(prepared);
  return out;
}

}  // namespace common::auth
