#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>
#include <utility>

namespace common {

/// A password or key in memory: prints as ***, is wiped when it goes. Copying is explicit.
class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string value);
  Secret(Secret&& other) noexcept;
  Secret& operator=(Secret&& other) noexcept;
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
  ~Secret() { wipe(); }
  std::string_view reveal() const { return value_; }
  bool empty() const { return value_.empty(); }

 private:
  void wipe() noexcept;
  std::string value_;
};

inline std::string_view format_as(const Secret&) {
  return "***";
}

}  // namespace common

// fmt 9 uses format_as for numbers only.
template <>
struct fmt::formatter<common::Secret> : fmt::formatter<std::string_view> {
  template <typename Context>
  auto format(const common::Secret&, Context& context) const {
    return fmt::formatter<std::string_view>::format("***", context);
  }
};
