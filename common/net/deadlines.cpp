#include "common/net/deadlines.hpp"

#include <algorithm>

namespace common::net {
namespace {

using Time = std::chrono::steady_clock::time_point;

constexpr std::int64_t bucket_count = 512;  // a horizon of 256 s: what lies behind it is passed on once in that time

/// The first bucket that begins at or after `at`: found there, a deadline is never told early.
std::int64_t bucket_after(Time at) {
  const auto width = std::chrono::duration_cast<Time::duration>(Deadlines::tick_width).count();
  const auto count = at.time_since_epoch().count();
  return count / width + (count % width > 0 ? 1 : 0);
}
std::int64_t bucket_at(Time now) {
  return now.time_since_epoch() / std::chrono::duration_cast<Time::duration>(Deadlines::tick_width);
}

}  // namespace

/// A circular list around a sentinel, so that a member leaves without knowing whose it is.
struct Deadlines::Bucket {
  Deadline head;
  Bucket() { head.next_ = head.previous_ = &head; }
  bool empty() const { return head.next_ == &head; }
  void push(Deadline& deadline) {
    deadline.previous_ = head.previous_;
    deadline.next_ = &head;
    head.previous_->next_ = &deadline;
    head.previous_ = &deadline;
  }
  static void unlink(Deadline& deadline) {
    deadline.previous_->next_ = deadline.next_;
    deadline.next_->previous_ = deadline.previous_;
  }
  void take_all(Bucket& from) {
    if (from.empty()) return;
    Deadline* const first = from.head.next_;
    Deadline* const last = from.head.previous_;
    first->previous_ = head.previous_;
    head.previous_->next_ = first;
    last->next_ = &head;
    head.previous_ = last;
    from.head.next_ = from.head.previous_ = &from.head;
  }
};

Deadline::~Deadline() {
  if (owner_ != nullptr) owner_->clear(*this);
}

Deadlines::Deadlines() : buckets_(std::make_unique<Bucket[]>(bucket_count)) {}

Deadlines::~Deadlines() {
  for (std::int64_t i = 0; i < bucket_count; ++i) {
    auto& bucket = buckets_[static_cast<std::size_t>(i)];
    for (Deadline* each = bucket.head.next_; each != &bucket.head; each = each->next_) each->owner_ = nullptr;
  }
}

void Deadlines::link(Deadline& deadline) {
  const auto slot = std::clamp(bucket_after(deadline.at_), last_ + 1, last_ + bucket_count);
  buckets_[static_cast<std::size_t>(slot % bucket_count)].push(deadline);
}

void Deadlines::set(Deadline& deadline, Time at, void (*expired)(void*), void* context) {
  deadline.expired_ = expired;
  deadline.context_ = context;
  if (deadline.owner_ == this) {
    const bool later = at >= deadline.at_;
    deadline.at_ = at;
    if (later) return;
    Bucket::unlink(deadline);
    link(deadline);
    return;
  }
  if (deadline.owner_ != nullptr) deadline.owner_->clear(deadline);
  deadline.at_ = at;
  deadline.owner_ = this;
  link(deadline);
  if (++size_ == 1 && wake_) wake_();
}

void Deadlines::clear(Deadline& deadline) {
  if (deadline.owner_ != this) return;
  Bucket::unlink(deadline);
  deadline.owner_ = nullptr;
  --size_;
}

void Deadlines::tick(Time now) {
  const auto current = bucket_at(now);
  if (current <= last_) return;
  Bucket due;
  const auto passed = std::min(current - last_, bucket_count);
  for (std::int64_t i = 1; i <= passed; ++i) {
    due.take_all(buckets_[static_cast<std::size_t>((last_ + i) % bucket_count)]);
  }
  last_ = current;
  while (!due.empty()) {
    Deadline& deadline = *due.head.next_;
    Bucket::unlink(deadline);
    if (deadline.at_ > now) {
      link(deadline);
      continue;
    }
    deadline.owner_ = nullptr;
    --size_;
    deadline.expired_(deadline.context_);
  }
}

}  // namespace common::net
