#include "smtpd/outbound/client_session.hpp"

#include <unistd.h>

#include <algorithm>
#include <asio/error.hpp>
#include <asio/post.hpp>
#include <asio/use_awaitable.hpp>
#include <cerrno>
#include <exception>
#include <span>
#include <system_error>
#include <utility>

#include "smtpd/outbound/seven_bit.hpp"

namespace smtpd::outbound {
namespace {

using common::net::End;
using Loss = ClientConversation::Loss;

// Read and converted between two turns of the others.
constexpr std::size_t piece_octets = 32 * 1024;

/// The next octets of `body`, as many as fit; never none. Blocks on the disk if they are not cached.
std::string_view read_piece(const Body& body, std::uint64_t at, std::span<char> into) {
  const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), body.octets - at));
  for (;;) {
    const auto got = ::pread(body.descriptor, into.data(), wanted, static_cast<off_t>(body.offset + at));
    if (got > 0) return {into.data(), static_cast<std::size_t>(got)};
    if (got < 0 && errno == EINTR) continue;
    throw std::system_error(got == 0 ? EIO : errno, std::system_category(), "the message cannot be read");
  }
}

}  // namespace

ClientSession::ClientSession(common::net::Worker& worker, common::net::Stream stream, std::string host,
                             std::shared_ptr<const ClientTerms> terms,
                             std::shared_ptr<const common::net::TlsClientContext> tls, Attempt attempt)
    : worker_(worker),
      stream_(std::move(stream)),
      host_(std::move(host)),
      address_(stream_.peer_address()),
      port_(stream_.peer_port()),
      terms_(std::move(terms)),
      tls_(std::move(tls)),
      conversation_(terms_, attempt) {}

asio::awaitable<bool> ClientSession::open() {
  co_await run(conversation_.start());
  co_return !conversation_.failure().has_value();
}

asio::awaitable<void> ClientSession::send(const Message& message, const Body& body, std::vector<Answer>& answers) {
  body_ = body;
  plans_.clear();
  co_await run(conversation_.send(message, answers));
}

asio::awaitable<void> ClientSession::quit() {
  heard_ = UINT64_MAX;
  Step step = conversation_.leave();
  while (const auto* exchanging = std::get_if<Exchange>(&step)) {
    const auto patience = exchanging->patience;
    step = co_await exchange(patience);
  }
  // RFC 5321 4.1.1.10: it closes once it has answered. Until then it counts us among those that are there. Over TLS an
  // end without close_notify, which many forget, would cost us the session that the next connection resumes.
  try {
    stream_.set_deadline(worker_.clock().steady() + terms_->timeouts.quit);
    for (bool more = tls_facts_.empty(); more;) {
      const auto octets = co_await stream_.read();
      more = octets.has_value();
    }
  } catch (const std::system_error&) {
    // It has gone without a word.
  }
  stream_.close();
}

asio::awaitable<void> ClientSession::run(Step step) {
  heard_ = UINT64_MAX;
  for (;;) {
    if (const auto* exchanging = std::get_if<Exchange>(&step)) {
      const auto patience = exchanging->patience;
      step = co_await exchange(patience);
    } else if (std::holds_alternative<Handshake>(step)) {
      step = co_await shake_hands();
    } else if (const auto* transmitting = std::get_if<Transmit>(&step)) {
      const auto what = *transmitting;
      step = co_await transmit(what);
    } else if (std::holds_alternative<Examine>(step)) {
      step = co_await examine();
    } else if (std::holds_alternative<Rest>(step)) {
      co_return;
    } else {
      // A last word, if there is one, which nobody waits for.
      stream_.set_timeout(terms_->timeouts.quit);
      co_await write_output();
      stream_.close();
      co_return;
    }
  }
}

Step ClientSession::on_lost(const std::system_error& error) {
  const auto loss = error.code() == asio::error::timed_out ? Loss::timeout : Loss::closed;
  // OpenSSL's words and what is wrong with our own file stand in what(); the rest is no news to anybody.
  const bool telling = error.code().value() == EPROTO || error.code().value() == EIO;
  return conversation_.on_lost(loss, telling ? error.what() : "");
}

asio::awaitable<std::optional<Loss>> ClientSession::write_output() {
  std::optional<Loss> lost;
  try {
    if (!conversation_.output().empty()) co_await stream_.write(conversation_.output());
  } catch (const std::system_error& error) {
    lost = error.code() == asio::error::timed_out ? Loss::timeout : Loss::closed;
  }
  conversation_.sent();
  co_return lost;
}

asio::awaitable<Step> ClientSession::exchange(std::chrono::milliseconds patience) {
  stream_.set_timeout(patience);
  const auto lost = co_await write_output();
  // A peer that hung up may have said why before.
  if (lost == Loss::timeout) co_return conversation_.on_lost(Loss::timeout, "");
  if (heard_ != conversation_.replies()) {
    // A reply must be whole in time: octet by octet it could take for ever.
    heard_ = conversation_.replies();
    stream_.set_deadline(worker_.clock().steady() + patience);
  }
  try {
    const auto octets = co_await stream_.read();
    if (octets) co_return conversation_.on_octets(*octets);
    co_return conversation_.on_lost(octets.error() == End::timeout ? Loss::timeout : Loss::closed,
                                    octets.error() == End::shutdown ? "the daemon stops" : "");
  } catch (const std::system_error& error) {
    co_return on_lost(error);
  }
}

asio::awaitable<Step> ClientSession::shake_hands() {
  stream_.set_timeout(terms_->timeouts.tls);
  if (tls_ == nullptr) co_return conversation_.on_tls_failed("it is not set up here");
  const auto shaken = co_await stream_.connect_tls(tls_, host_);
  if (!shaken) {
    stream_.close();
    co_return conversation_.on_tls_failed(shaken.error());
  }
  const auto facts = stream_.tls_facts();
  tls_facts_ = facts.protocol + " " + facts.cipher;
  common::auth::Channel channel;
  if (terms_->credentials != nullptr) {
    channel.exporter = stream_.channel_binding("tls-exporter");
    channel.unique = stream_.channel_binding("tls-unique");
  }
  co_return conversation_.on_secured(std::move(channel));
}

asio::awaitable<Step> ClientSession::transmit(Transmit what) {
  stream_.set_timeout(terms_->timeouts.block);
  std::exception_ptr lost;
  try {
    if (what.form == Form::seven_bit) {
      co_await transmit_converted();
    } else {
      const std::string_view closing = what.closing == Closing::dot ? ".\r\n" : "";
      co_await stream_.write_file(conversation_.output(), body_.descriptor, body_.offset, body_.octets, closing);
    }
    conversation_.sent();
    co_return conversation_.on_transmitted();
  } catch (const std::system_error& error) {
    conversation_.sent();
    // A file that cannot be read is not the peer's fault, and it has nothing to say.
    if (error.code() == asio::error::timed_out || error.code().value() == EIO) co_return on_lost(error);
    lost = std::current_exception();
  }
  // It hung up in the middle; what it said before is still there to be read.
  try {
    stream_.set_timeout(terms_->timeouts.quit);
    const auto words = co_await stream_.read();
    if (words) conversation_.on_octets(*words);
  } catch (const std::system_error&) {  // nothing was said
  }
  try {
    std::rethrow_exception(lost);
  } catch (const std::system_error& error) {
    co_return on_lost(error);
  }
}

asio::awaitable<void> ClientSession::transmit_converted() {
  SevenBitConverter converter{plans_};
  std::string out{conversation_.output()};
  for (std::uint64_t at = 0; at < body_.octets;) {
    const auto piece = read_piece(body_, at, worker_.scratch().first(piece_octets));
    converter.feed(piece, out);
    at += piece.size();
    co_await stream_.write(out);
    out.clear();
  }
  converter.finish(out);
  out += ".\r\n";
  co_await stream_.write(out);
}

asio::awaitable<Step> ClientSession::examine() {
  MessageExaminer examiner;
  std::string failed;
  std::uint64_t since = 0;
  for (std::uint64_t at = 0; at < body_.octets && failed.empty();) {
    try {
      const auto piece = read_piece(body_, at, worker_.scratch().first(piece_octets));
      examiner.feed(piece);
      at += piece.size();
      since += piece.size();
    } catch (const std::system_error& error) {
      failed = error.what();
    }
    if (since >= 1024 * 1024) {
      since = 0;
      co_await asio::post(worker_.context(), asio::use_awaitable);
    }
  }
  if (!failed.empty()) co_return conversation_.on_lost(Loss::closed, failed);
  const auto found = examiner.finish();
  plans_ = examiner.plans();
  co_return conversation_.on_examined(found);
}

}  // namespace smtpd::outbound
