#pragma once

#include <asio/awaitable.hpp>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "mailstore/store.hpp"

#include "smtpd/protocol/data_reader.hpp"
#include "smtpd/protocol/header_fields.hpp"

namespace smtpd {

/// Puts what the data reader lets through into a draft.
class DraftSink final : public DataSink {
 public:
  DraftSink(mailstore::Draft& draft, HeaderKeeper& header) : draft_(draft), header_(header) {}
  void append(std::string_view octets) override {
    if (broken_) return;
    draft_.append(octets);
    header_.append(octets);
  }
  /// Nothing is kept from now on.
  void stop() { broken_ = true; }

 private:
  mailstore::Draft& draft_;
  HeaderKeeper& header_;
  bool broken_ = false;
};

/// Whether the header section is kept beside, for those who act on it.
enum class Header : std::uint8_t { passes, kept };
/// Of it, more than any that matters is long.
inline constexpr std::size_t kept_header_octets = 64 * 1024;

/// A message on its way in: its draft, and what looks at the octets before they go there. Stays where it was made.
class IncomingMessage {
 public:
  /// `received`: the trace line, which goes first.
  IncomingMessage(mailstore::Draft draft, const std::string& received, const DataLimits& limits, MissingFields missing,
                  Framing framing, Header header = Header::passes)
      : draft_(std::move(draft)),
        received_octets_(received.size()),
        reader_(limits, std::move(missing), framing),
        header_(header == Header::kept ? kept_header_octets : 0) {
    draft_.append(received);
  }
  IncomingMessage(const IncomingMessage&) = delete;
  IncomingMessage& operator=(const IncomingMessage&) = delete;

  /// How many it took: up to the end of data.
  std::size_t feed(std::string_view octets) {
    const auto taken = reader_.feed(octets, sink_);
    if (reader_.fault()) sink_.stop();
    return taken;
  }
  /// The last chunk was fed.
  void finish() { reader_.finish(sink_); }
  bool complete() const { return reader_.complete(); }

  bool wants_spill() const { return !trouble_ && !reader_.fault() && draft_.wants_spill(); }
  asio::awaitable<void> spill() {
    auto spilled = co_await draft_.spill();
    if (!spilled) {
      trouble_ = std::move(spilled.error());
      sink_.stop();
    }
  }

  /// Why it cannot be accepted: its own fault, or the store's.
  std::optional<Cause> fault() const { return reader_.fault(); }
  const std::optional<mailstore::Error>& trouble() const { return trouble_; }
  std::string id() const { return mailstore::format_id(draft_.id()); }
  /// Of trace line and message, once complete.
  mailstore::BodyFacts facts() const {
    const DataFacts facts = reader_.facts();
    return {facts.octets + received_octets_, facts.header_octets + received_octets_, facts.stuffed};
  }
  mailstore::Draft take() { return std::move(draft_); }
  /// The beginning of the header section as it came, if it was to be kept.
  std::string take_header() { return header_.take(); }

 private:
  mailstore::Draft draft_;
  std::size_t received_octets_;
  DataReader reader_;
  HeaderKeeper header_;
  DraftSink sink_{draft_, header_};
  std::optional<mailstore::Error> trouble_;
};

}  // namespace smtpd
