#include "smtpd/outbound/doors.hpp"

#include <limits>
#include <utility>

namespace smtpd::outbound {

Doors::Ticket::Ticket(std::shared_ptr<Doors> doors, std::string place)
    : doors_(std::move(doors)), place_(std::move(place)) {
  ++doors_->all_.open;
  ++doors_->places_[place_].open;
}

Doors::Ticket& Doors::Ticket::operator=(Ticket&& other) noexcept {
  if (this == &other) return *this;
  give_back();
  doors_ = std::move(other.doors_);
  place_ = std::move(other.place_);
  leaving_ = std::exchange(other.leaving_, false);
  return *this;
}

void Doors::Ticket::leave() {
  if (!doors_ || std::exchange(leaving_, true)) return;
  ++doors_->all_.leaving;
  ++doors_->places_[place_].leaving;
}

void Doors::Ticket::give_back() {
  if (!doors_) return;
  const auto place = doors_->places_.find(place_);
  --doors_->all_.open;
  --place->second.open;
  if (leaving_) {
    --doors_->all_.leaving;
    --place->second.leaving;
  }
  if (place->second.open == 0) doors_->places_.erase(place);
  if (leaving_) doors_->turns_.call({}, std::numeric_limits<std::size_t>::max());
  doors_.reset();
}

std::uint32_t Doors::open(const std::string& place) const {
  const auto found = places_.find(place);
  return found == places_.end() ? 0 : found->second.open;
}

std::uint32_t Doors::leaving(const std::string& place) const {
  const auto found = places_.find(place);
  return found == places_.end() ? 0 : found->second.leaving;
}

asio::awaitable<void> Doors::wait_for_leaving() {
  return turns_.wait({}, Turns::Place::tail);
}

}  // namespace smtpd::outbound
