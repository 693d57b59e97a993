#include "smtpd/outbound/turns.hpp"

#include <algorithm>
#include <asio/redirect_error.hpp>
#include <asio/use_awaitable.hpp>
#include <utility>

namespace smtpd::outbound {

asio::awaitable<void> Turns::wait(std::string line, Place place, std::chrono::steady_clock::time_point until) {
  asio::steady_timer timer{executor_, until};
  {
    auto& others = lines_[line];
    others.insert(place == Place::head ? others.begin() : others.end(), &timer);
    ++waiting_;
  }
  asio::error_code ignored;
  auto turn = asio::redirect_error(asio::use_awaitable, ignored);
  co_await timer.async_wait(turn);
  const auto found = lines_.find(line);
  if (found == lines_.end()) co_return;  // called
  const auto self = std::ranges::find(found->second, &timer);
  if (self == found->second.end()) co_return;
  found->second.erase(self);
  --waiting_;
  if (found->second.empty()) lines_.erase(found);
}

void Turns::call(std::string_view line, std::size_t count) {
  const auto found = lines_.find(line);
  if (found == lines_.end()) return;
  auto& waiters = found->second;
  for (; count > 0 && !waiters.empty(); --count) {
    waiters.front()->cancel();
    waiters.pop_front();
    --waiting_;
  }
  if (waiters.empty()) lines_.erase(found);
}

void Turns::call_all() {
  for (auto& [name, waiters] : lines_) {
    for (auto* waiter : waiters) waiter->cancel();
  }
  lines_.clear();
  waiting_ = 0;
}

}  // namespace smtpd::outbound
