#pragma once

#include <optional>
#include <string>
#include <utility>

#include "smtpd/outbound/scheduler.hpp"

namespace smtpd::outbound {

/// One go at a domain, from the look at what is due to the last answer.
struct Scheduler::Run {
  explicit Run(std::string name) : domain(std::move(name)) {}
  std::string domain;
  mailstore::QueueDomain row;
  std::uint32_t under_way = 0;
  bool good = false;                            ///< somebody there was spoken to
  std::optional<mailstore::Attempt> trouble;    ///< nobody was: the round has failed
  std::optional<Schedule> schedule;             ///< of the message that found it out
  bool over() const { return trouble && !good; }
};

}  // namespace smtpd::outbound
