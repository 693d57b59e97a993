#pragma once

#include <asio/awaitable.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>

#include "smtpd/outbound/turns.hpp"

namespace smtpd::outbound {

/// Counts connections until they are closed, those that take their leave included: a peer that allows so many sees no
/// more (S60, S62). One thread.
class Doors : public std::enable_shared_from_this<Doors> {
 public:
  explicit Doors(asio::any_io_executor executor) : turns_(std::move(executor)) {}

  /// One connection. Goes with it.
  class Ticket {
   public:
    Ticket() = default;
    Ticket(std::shared_ptr<Doors> doors, std::string place);
    Ticket(Ticket&& other) noexcept = default;
    Ticket& operator=(Ticket&& other) noexcept;
    ~Ticket() { give_back(); }
    /// It says goodbye, for which nobody waits but who wants its place.
    void leave();

   private:
    void give_back();
    std::shared_ptr<Doors> doors_;
    std::string place_;
    bool leaving_ = false;
  };
  Ticket enter(std::string place) { return {shared_from_this(), std::move(place)}; }

  std::uint32_t open() const { return all_.open; }
  std::uint32_t leaving() const { return all_.leaving; }
  std::uint32_t open(const std::string& place) const;
  std::uint32_t leaving(const std::string& place) const;
  /// Until one that takes its leave has gone.
  asio::awaitable<void> wait_for_leaving();

 private:
  struct Count {
    std::uint32_t open = 0, leaving = 0;
  };
  Turns turns_;
  Count all_;
  std::unordered_map<std::string, Count> places_;
};

}  // namespace smtpd::outbound
