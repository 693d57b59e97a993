#include "common/secret.hpp"

#include <string.h>

namespace common {
namespace {

/// All the octets that the string ever held: a short one keeps them in place when it is moved from or cleared.
void wipe_string(std::string& text) noexcept {
  text.resize(text.capacity());
  explicit_bzero(text.data(), text.size());
  text.clear();
}

}  // namespace

Secret::Secret(std::string value) : value_(std::move(value)) {
  wipe_string(value);
}

Secret::Secret(Secret&& other) noexcept : value_(std::move(other.value_)) {
  other.wipe();
}

Secret& Secret::operator=(Secret&& other) noexcept {
  if (this != &other) {
    wipe();
    value_ = std::move(other.value_);
    other.wipe();
  }
  return *this;
}

void Secret::wipe() noexcept {
  wipe_string(value_);
}

}  // namespace common
