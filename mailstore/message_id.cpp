#include "mailstore/message_id.hpp"

#include <algorithm>
#include <chrono>

#include "common/base32.hpp"

namespace mailstore {

std::string format_id(MessageId id) {
  return common::format_base32(id.value);
}

std::optional<MessageId> parse_id(std::string_view text) {
  const auto value = common::parse_base32(text);
  if (!value || *value == 0) return std::nullopt;
  return MessageId{*value};
}

std::uint64_t microseconds_since_2020() {
  using namespace std::chrono;
  constexpr sys_days epoch = year{2020} / January / 1;
  const auto now = duration_cast<microseconds>(system_clock::now() - epoch).count();
  return now > 0 ? static_cast<std::uint64_t>(now) : 0;
}

void IdSource::start(std::uint64_t now, std::uint64_t stored_limit, std::uint64_t new_limit, unsigned slot,
                     std::uint64_t generation) {
  const std::lock_guard hold(mutex_);
  last_ = std::max(now, stored_limit + unit) / unit * unit;
  limit_ = new_limit;
  slot_ = slot;
  generation_ = generation;
  started_ = true;
}

bool IdSource::started() const {
  const std::lock_guard hold(mutex_);
  return started_;
}

std::optional<MessageId> IdSource::next(std::uint64_t now) {
  const std::lock_guard hold(mutex_);
  if (!started_) return std::nullopt;
  const auto candidate = std::max(now / unit * unit, last_ + unit);
  if (candidate + unit > limit_) return std::nullopt;
  last_ = candidate;
  return MessageId{((candidate | slot_) << 12U) | generation_};
}

bool IdSource::low(std::uint64_t now) const {
  const std::lock_guard hold(mutex_);
  return started_ && std::max(now, last_) + window / 2 > limit_;
}

std::uint64_t IdSource::wanted_limit(std::uint64_t now) const {
  const std::lock_guard hold(mutex_);
  return std::max(now, last_) + window;
}

void IdSource::raise_later(std::uint64_t limit) {
  const std::lock_guard hold(mutex_);
  later_ = limit;
}

void IdSource::raised() {
  const std::lock_guard hold(mutex_);
  limit_ = std::max(limit_, later_);
}

}  // namespace mailstore
