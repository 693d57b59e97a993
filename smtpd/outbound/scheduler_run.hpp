#pragma once

#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "smtpd/outbound/scheduler.hpp"

namespace smtpd::outbound {

/// One go at a domain, from the look at what is due to the last answer.
struct Scheduler::Run {
  Run(std::string name, asio::io_context& context) : domain(std::move(name)), ended(context) {
    ended.expires_at(std::chrono::steady_clock::time_point::max());
  }
  std::string domain;
  mailstore::QueueDomain row;
  asio::steady_timer ended;        ///< cancelled whenever an attempt is over
  std::uint32_t under_way = 0;     ///< attempts
  std::uint32_t carrying = 0;      ///< of those, that have a lane
  bool ours = false;               ///< the domain became ours while mail for it waited
  bool on_demand = false;          ///< its mail waits until it is asked for; what a person orders does not
  bool asked = false;              ///< it was, or its round before its time
  bool folder_failed = false;      ///< its mail goes into files, and could not
  ClientSession* given = nullptr;  ///< all goes over this connection

  // How the domain stands. One connection refused is no dead domain: it is dead when everybody who was under way at
  // the first trouble, or came in between, had none but trouble.
  bool good = false;  ///< somebody there was spoken to
  std::uint32_t streak = 0;
  std::uint32_t cohort = 0;
  std::optional<mailstore::Attempt> trouble;  ///< the last
  std::optional<Schedule> schedule;           ///< of the message that met it
  /// Those that met trouble: with the domain's next round if it is dead, else at a time of their own.
  struct Undecided {
    mailstore::Settlement stays;
    bool had_due = false;  ///< a time of its own, which is over
  };
  std::vector<Undecided> undecided;
  std::vector<Hand> kept;  ///< theirs

  /// Until another attempt is over.
  asio::awaitable<void> next_end() {
    asio::error_code ignored;
    auto token = asio::redirect_error(asio::use_awaitable, ignored);
    co_await ended.async_wait(token);
  }
  void on_answer() {
    good = true;
    streak = 0;
  }
  void on_trouble(mailstore::Attempt attempt, const Schedule& whose) {
    if (streak++ == 0) cohort = carrying;
    trouble = std::move(attempt);
    schedule = whose;
  }
  bool over() const { return streak > 0 && streak >= cohort; }
  /// Somebody met trouble, and those that were beside them have not said yet how the domain stands.
  bool in_doubt() const { return streak > 0 && !over() && carrying > 0; }
  const Schedule& schedule_of(const ServerPlan& plan) const { return ours ? plan.local : plan.schedule; }
  /// Whether another attempt may begin beside those under way: not before it is known that somebody is there.
  bool may_widen(bool proven) const { return streak == 0 && (good || proven); }
};

}  // namespace smtpd::outbound
