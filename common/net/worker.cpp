#include "common/net/worker.hpp"

#include <asio/executor_work_guard.hpp>

namespace common::net {

Worker::Worker(const Clock& clock) : clock_(clock) {
  deadlines_.on_first([this] { arm(); });
}

Worker::~Worker() {
  deadlines_.on_first({});
}

void Worker::run() {
  const auto work = asio::make_work_guard(context_);
  context_.run();
}

void Worker::stop() {
  context_.stop();
}

void Worker::arm() {
  if (armed_) return;
  armed_ = true;
  ticker_.expires_after(Deadlines::tick_width);
  ticker_.async_wait([this](const asio::error_code& error) {
    armed_ = false;
    if (error) return;
    deadlines_.tick(clock_.steady());
    if (deadlines_.size() > 0) arm();
  });
}

void Worker::enlist(Waiter& waiter) {
  waiter.previous_ = waiters_.previous_;
  waiter.next_ = &waiters_;
  waiters_.previous_->next_ = &waiter;
  waiters_.previous_ = &waiter;
}

void Worker::dismiss(Waiter& waiter) {
  waiter.previous_->next_ = waiter.next_;
  waiter.next_->previous_ = waiter.previous_;
  waiter.next_ = waiter.previous_ = &waiter;
}

void Worker::end_sessions(bool now) {
  ending_ = true;
  if (now) ending_now_ = true;
  for (Waiter* each = waiters_.next_; each != &waiters_; each = each->next_) each->end(now);
}

}  // namespace common::net
