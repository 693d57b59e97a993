#pragma once

#include <cstdint>
#include <string_view>

/// What the next server offers in its answer to EHLO.
namespace smtpd::outbound {

struct Extensions {
  bool pipelining = false;  ///< RFC 2920
  bool size = false;        ///< RFC 1870
  std::uint64_t most = 0;   ///< the largest message it takes; 0: it does not say
  bool eight_bit = false;   ///< 8BITMIME, RFC 6152
  bool utf8 = false;        ///< SMTPUTF8, RFC 6531
  bool chunking = false;    ///< BDAT, RFC 3030
  bool dsn = false;         ///< RFC 3461
  bool starttls = false;    ///< RFC 3207
  bool auth_plain = false;  ///< RFC 4954, and so the next four
  bool auth_login = false;
  bool auth_cram_md5 = false;
  bool auth_scram = false;       ///< SCRAM-SHA-256
  bool auth_scram_plus = false;  ///< SCRAM-SHA-256-PLUS
  // LIMITS, RFC 9422; 0: none given
  std::uint32_t mail_max = 0;
  std::uint32_t rcpt_max = 0;
  std::uint32_t rcpt_domain_max = 0;
};

/// `text`: of the reply, lines parted by '\n'; the first is a greeting and no extension. What is not known, or not
/// understood, is as if it were not offered.
Extensions parse_extensions(std::string_view text);

}  // namespace smtpd::outbound
