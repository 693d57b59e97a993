#pragma once

#include <cstdint>
#include <cstdio>
#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "tools/sendmail/status.hpp"

namespace tools::sendmail {

/// A message that is being gathered: in memory, or where it is long in a file without a name, since it may have to be
/// told twice, to the socket and then to the spool.
class Body {
 public:
  std::expected<void, Refusal> append(std::string_view octets);
  std::uint64_t octets() const { return octets_; }
  bool eight_bit() const { return eight_bit_; }
  /// All of it, in pieces; `each` says whether to go on. Error: it cannot be read back.
  std::expected<void, Refusal> tell(const std::function<bool(std::string_view)>& each) const;

 private:
  std::string memory_;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_{nullptr, std::fclose};
  std::uint64_t octets_ = 0;
  bool eight_bit_ = false;
};

}  // namespace tools::sendmail
