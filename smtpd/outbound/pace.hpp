#pragma once

#include <cstdint>

namespace smtpd::outbound {

/// How many connections a destination is given at a time, by how it takes them: grows while all goes well, halves when
/// the peer says that it is too much. As in TCP's congestion avoidance it finds the peer's limit and stays near it; the
/// limit is tried again ever more seldom, since each trial costs a message its turn.
class Pace {
 public:
  static constexpr std::uint32_t beginning = 10;
  /// Messages that go well before the peer's limit is tried again; twice as many after each time in vain.
  static constexpr std::uint32_t least_patience = 20, most_patience = 1000;

  /// `most`: the limit of the settings; 0: none.
  explicit Pace(std::uint32_t most) : most_(most), window_(most == 0 || most > beginning ? beginning : most) {}

  enum class Sign : std::uint8_t {
    good,    ///< a message was taken, or refused for its own sake
    none,    ///< nothing was learned
    slower,  ///< 421, 4xx to a connection, 4.3.2 and 4.4.5 (RFC 3463 3.4)
  };
  /// One message is over.
  void on(Sign sign);
  /// Other settings from now on.
  void limit(std::uint32_t most);
  std::uint32_t window() const { return window_; }

 private:
  std::uint32_t most_;
  std::uint32_t window_;
  std::uint32_t ceiling_ = 0;  ///< what the peer put up with last; 0: not known
  std::uint32_t patience_ = least_patience;
  std::uint32_t goods_ = 0;    ///< since the window last changed
  std::uint32_t ignored_ = 0;  ///< signs of connections begun before the last halving still to come
};

}  // namespace smtpd::outbound
