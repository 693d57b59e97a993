// pennypost-sendmail: hands a program's message to smtpd, as every Unix machine has a program for. This file goes the
// way of a message from end to end; what it consists of is beside it.

#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <iterator>

#include "common/address_list.hpp"
#include "common/escape.hpp"

#include "tools/sendmail/body.hpp"
#include "tools/sendmail/header.hpp"
#include "tools/sendmail/line_ends.hpp"
#include "tools/sendmail/options.hpp"
#include "tools/sendmail/queue.hpp"
#include "tools/sendmail/socket.hpp"
#include "tools/sendmail/spool.hpp"
#include "tools/sendmail/surroundings.hpp"

namespace tools::sendmail {
namespace {

using Done = std::expected<void, Refusal>;

Status complain(const Refusal& refusal) {
  fmt::print(stderr, "pennypost-sendmail: {}\n", common::escape(refusal.why, 4000));
  return refusal.status;
}

std::unexpected<Refusal> refuse(Status status, std::string why) {
  return std::unexpected(Refusal{status, std::move(why)});
}

/// Domains are A-labels by now.
bool needs_utf8(const common::Address& address) {
  return std::ranges::any_of(address.local, [](char c) { return static_cast<unsigned char>(c) >= 0x80; });
}

struct Message {
  Envelope envelope;
  Body body;
};

/// The sender of the envelope and of a From field that has to be made.
Done set_sender(const Options& options, const Place& place, Author& author, Envelope& envelope) {
  envelope.sender = author.address;
  if (!options.sender) return {};
  if (options.sender->empty() || *options.sender == "<>") {
    envelope.sender.clear();
    return {};
  }
  auto given = common::parse_address_list(*options.sender);
  if (!given || given->size() != 1) {
    return refuse(Status::usage, fmt::format("-f {}: {}", *options.sender, given ? "give one address" : given.error()));
  }
  auto& address = given->front();
  if (address.domain.empty()) address.domain = place.domain;
  envelope.utf8 = needs_utf8(address);
  envelope.sender = common::format_address(address);
  author.address = envelope.sender;
  return {};
}

Done add_recipients(const Options& options, Envelope& envelope) {
  for (const auto& word : options.recipients) {
    auto given = common::parse_address_list(word);
    if (!given) return refuse(Status::usage, fmt::format("recipient {}: {}", word, given.error()));
    std::ranges::move(*given, std::back_inserter(envelope.recipients));
  }
  if (envelope.recipients.empty() && !options.from_header)
    return refuse(Status::usage, "no recipient; name one, or use -t");
  return {};
}

/// Standard input to its end: header with what it lacked, body, recipients of -t.
Done read_message(const Options& options, const Place& place, const Author& author, Message& message) {
  LineEnds line_ends{options.dot_ends ? LineEnds::Dot::ends : LineEnds::Dot::stays};
  HeaderReader header;
  bool in_header = true;
  std::string piece(65536, '\0');
  std::string octets;
  const auto begin_body = [&]() -> Done {
    in_header = false;
    if (header.too_long()) return refuse(Status::bad_data, "the header is longer than a megabyte");
    auto made =
        prepare_header(header.take_fields(), options.from_header ? Recipients::from_header : Recipients::given, author);
    if (!made) return std::unexpected(std::move(made.error()));
    std::ranges::move(made->recipients, std::back_inserter(message.envelope.recipients));
    if (message.envelope.recipients.empty()) return refuse(Status::bad_data, "no recipient in To, Cc or Bcc");
    auto put = message.body.append(made->text);
    return put ? message.body.append(header.body()) : put;
  };
  const auto take = [&]() -> Done {
    if (!in_header) return message.body.append(octets);
    return header.feed(octets) ? begin_body() : Done{};
  };
  for (bool more = true; more;) {
    const auto got = ::read(STDIN_FILENO, piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return refuse(Status::bad_data, fmt::format("standard input: {}", std::strerror(errno)));
    octets.clear();
    if (got > 0) line_ends.append(std::string_view{piece}.substr(0, static_cast<std::size_t>(got)), octets);
    if (got == 0) line_ends.finish(octets);
    more = got > 0 && !line_ends.ended();
    if (auto taken = take(); !taken) return taken;
    if (place.octets != 0 && message.body.octets() > place.octets)
      return refuse(Status::unavailable, fmt::format("the message is larger than {} octets", place.octets));
  }
  if (!in_header) return {};
  header.finish();
  return begin_body();
}

/// Doubles are one recipient.
void finish_envelope(const Options& options, Message& message) {
  auto& envelope = message.envelope;
  std::vector<common::Address> once;
  for (auto& address : envelope.recipients) {
    envelope.utf8 = envelope.utf8 || needs_utf8(address);
    if (std::ranges::find(once, address) == once.end()) once.push_back(std::move(address));
  }
  envelope.recipients = std::move(once);
  envelope.eight_bit = options.eight_bit || message.body.eight_bit();
  envelope.octets = message.body.octets();
  envelope.notify = options.notify;
  envelope.return_content = options.return_content;
  envelope.envelope_id = options.envelope_id;
}

Done hand_over(const Place& place, const Message& message) {
  std::string why = "[local] socket is off";
  if (!place.socket.empty()) {
    const auto told = submit(place.socket, message.envelope, message.body);
    if (told.fate == Told::Fate::sent) return {};
    if (told.fate == Told::Fate::refused) return refuse(told.status, told.why);
    why = told.why;
  }
  if (place.spool.empty()) return refuse(Status::try_again, why);
  auto kept = spool(place.spool, message.envelope, message.body);
  if (!kept) kept.error().why = fmt::format("{} ({})", kept.error().why, why);
  return kept;
}

Done send(const Options& options) {
  auto place = find_place(options.config);
  if (!place) return std::unexpected(std::move(place.error()));
  auto author = find_author(options, *place);
  if (!author) return std::unexpected(std::move(author.error()));
  Message message;
  if (auto set = set_sender(options, *place, *author, message.envelope); !set) return set;
  if (auto added = add_recipients(options, message.envelope); !added) return added;
  if (auto read = read_message(options, *place, *author, message); !read) return read;
  finish_envelope(options, message);
  return hand_over(*place, message);
}

Status run(const Options& options) {
  switch (options.mode) {
    case Mode::send: {
      const auto sent = send(options);
      return sent ? Status::done : complain(sent.error());
    }
    case Mode::talk: {
      const auto place = find_place(options.config);
      return place ? talk(place->socket) : complain(place.error());
    }
    case Mode::list_queue:
      return show_queue(options.config);
    case Mode::flush_queue:
      return flush_queue(options.config, options.domain);
    case Mode::nothing:
      return Status::done;
    case Mode::help:
      fmt::print("{}", usage());
      return Status::done;
    case Mode::version:
      fmt::print("pennypost-sendmail {}\n", PENNYPOST_VERSION);
      return Status::done;
  }
  return Status::done;
}

}  // namespace
}  // namespace tools::sendmail

int main(int argc, char** argv) {
  using namespace tools::sendmail;
  ::signal(SIGPIPE, SIG_IGN);
  try {
    const auto options = parse_options(argc > 0 ? argv[0] : "", {argv + std::min(argc, 1), argv + argc});
    return static_cast<int>(options ? run(*options) : complain(options.error()));
  } catch (const std::exception& trouble) {
    return static_cast<int>(complain({Status::try_again, trouble.what()}));
  }
}
