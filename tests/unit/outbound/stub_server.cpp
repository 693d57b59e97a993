#include "stub_server.hpp"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <functional>
#include <optional>
#include <stdexcept>

namespace test {
namespace {

std::string upper_verb(std::string_view line) {
  std::string verb;
  for (const char c : line.substr(0, line.find_first_of(" :"))) {
    verb += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  }
  return verb;
}

}  // namespace

SSL_CTX* server_tls(const std::string& certificate, const std::string& key) {
  SSL_CTX* const context = SSL_CTX_new(TLS_server_method());
  static constexpr unsigned char name[] = "stub";
  SSL_CTX_set_session_id_context(context, name, sizeof name);
  if (SSL_CTX_use_certificate_chain_file(context, certificate.c_str()) != 1 ||
      SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) != 1) {
    throw std::runtime_error("no certificate for the stub");
  }
  return context;
}

/// One connection's octets, in the clear or not.
class StubServer::Talk {
 public:
  explicit Talk(int socket) : socket_(socket) {}
  ~Talk() { SSL_free(ssl_); }
  Talk(const Talk&) = delete;
  Talk& operator=(const Talk&) = delete;

  void send(std::string_view octets) {
    while (!octets.empty()) {
      const auto sent = ssl_ != nullptr ? SSL_write(ssl_, octets.data(), static_cast<int>(octets.size()))
                                        : ::send(socket_, octets.data(), octets.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;
      octets.remove_prefix(static_cast<std::size_t>(sent));
    }
  }
  bool fill() {
    std::string room(64 * 1024, '\0');
    const auto got = ssl_ != nullptr ? SSL_read(ssl_, room.data(), static_cast<int>(room.size()))
                                     : ::recv(socket_, room.data(), room.size(), 0);
    if (got <= 0) return false;
    held_.append(room, 0, static_cast<std::size_t>(got));
    return true;
  }
  std::optional<std::string> line() {
    for (;;) {
      const auto end = held_.find("\r\n");
      if (end != held_.npos) {
        auto text = held_.substr(0, end);
        held_.erase(0, end + 2);
        return text;
      }
      if (!fill()) return std::nullopt;
    }
  }
  std::optional<std::string> exactly(std::size_t count) {
    while (held_.size() < count) {
      if (!fill()) return std::nullopt;
    }
    auto octets = held_.substr(0, count);
    held_.erase(0, count);
    return octets;
  }
  /// To the closing line, which is taken and not given.
  std::optional<std::string> message() {
    for (;;) {
      if (held_.starts_with(".\r\n")) {
        held_.erase(0, 3);
        return std::string{};
      }
      const auto end = held_.find("\r\n.\r\n");
      if (end != held_.npos) {
        auto octets = held_.substr(0, end + 2);
        held_.erase(0, end + 5);
        return octets;
      }
      if (!fill()) return std::nullopt;
    }
  }
  bool secure(SSL_CTX* context) {
    held_.clear();
    ssl_ = SSL_new(context);
    SSL_set_fd(ssl_, socket_);
    return SSL_accept(ssl_) == 1;
  }
  bool resumed() const { return ssl_ != nullptr && SSL_session_reused(ssl_) == 1; }

 private:
  int socket_;
  SSL* ssl_ = nullptr;
  std::string held_;
};

StubServer::StubServer(std::vector<Ways> ways, const std::string& address, std::uint16_t port)
    : ways_(std::move(ways)) {
  std::signal(SIGPIPE, SIG_IGN);  // OpenSSL writes without MSG_NOSIGNAL
  common::net::Descriptor socket{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  const int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_port = htons(port);
  ::inet_pton(AF_INET, address.c_str(), &name.sin_addr);
  socklen_t size = sizeof name;
  if (::bind(socket.get(), reinterpret_cast<sockaddr*>(&name), size) != 0 || ::listen(socket.get(), 64) != 0) return;
  ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&name), &size);
  port_ = ntohs(name.sin_port);
  listener_ = std::move(socket);
  acceptor_ = std::thread{[this] {
    for (;;) {
      const int accepted = ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
      const int at_once = 1;
      ::setsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof at_once);
      const std::lock_guard lock{mutex_};
      if (accepted < 0 || stopping_) {
        if (accepted >= 0) ::close(accepted);
        return;
      }
      const auto& how = ways_[std::min(heard_.connections++, ways_.size() - 1)];
      open_.push_back(accepted);
      heard_.most_at_once = std::max(heard_.most_at_once, open_.size());
      threads_.emplace_back([this, accepted, &how] { serve(accepted, how); });
    }
  }};
}

StubServer::~StubServer() {
  {
    const std::lock_guard lock{mutex_};
    stopping_ = true;
    for (const int each : open_) ::shutdown(each, SHUT_RDWR);
  }
  if (listener_.get() >= 0) ::shutdown(listener_.get(), SHUT_RDWR);
  if (acceptor_.joinable()) acceptor_.join();
  for (auto& each : threads_) each.join();
}

void StubServer::note(const std::function<void(Heard&)>& what) {
  {
    const std::lock_guard lock{mutex_};
    what(heard_);
  }
  changed_.notify_all();
}

StubServer::Heard StubServer::heard() {
  const std::lock_guard lock{mutex_};
  return heard_;
}

void StubServer::wait_for(std::string_view line) {
  std::unique_lock lock{mutex_};
  const bool came = changed_.wait_for(lock, std::chrono::seconds{20}, [&] {
    return std::ranges::any_of(heard_.lines, [&](const std::string& each) { return each.starts_with(line); });
  });
  if (!came) throw std::runtime_error("the stub was not told: " + std::string{line});
}

void StubServer::serve(int socket, const Ways& ways) {
  Talk talk{socket};
  bool talking = true;
  /// Says what `ways` want, or `usual`.
  const auto answer = [&](const std::string& key, const std::string& line, const std::string& usual) {
    auto found = ways.answers.find(line);
    if (found == ways.answers.end()) found = ways.answers.find(key);
    std::string text = found == ways.answers.end() ? usual : found->second;
    std::string event;
    const auto mark = text.find('!');
    if (mark != text.npos) {
      event = text.substr(mark);
      text.erase(mark);
    }
    std::string wire;
    for (const char c : text) {
      if (c == '\n') wire += '\r';
      wire += c;
    }
    if (!wire.empty() && event.empty()) wire += "\r\n";
    talk.send(wire);
    if (event == "!stall") {
      note([](Heard& heard) { ++heard.stalls; });
      while (talk.fill()) {
      }
    }
    if (!event.empty()) talking = false;
    return text.empty() ? '0' : text.front();
  };
  const auto keep = [&](std::optional<std::string> octets) {
    if (!octets) {
      talking = false;
      return;
    }
    note([&](Heard& heard) { heard.messages.push_back(std::move(*octets)); });
    answer("END", "END", "250 2.0.0 taken");
  };

  answer("GREETING", "GREETING", "220 stub.test");
  while (talking) {
    const auto line = talk.line();
    if (!line) break;
    note([&](Heard& heard) { heard.lines.push_back(*line); });
    const auto verb = upper_verb(*line);
    if (verb == "EHLO") {
      std::string text = "250-stub.test";
      for (const auto& each : ways.extensions) text += "\n250-" + each;
      answer(verb, *line, text + "\n250 HELP");
    } else if (verb == "STARTTLS") {
      if (answer(verb, *line, "220 go") != '2' || !talking) continue;
      if (ways.answers.contains("TLS")) {
        answer("TLS", "TLS", "");
        continue;
      }
      talking = talk.secure(ways.tls);
      if (talk.resumed()) note([](Heard& heard) { ++heard.resumed; });
    } else if (verb == "DATA") {
      if (answer(verb, *line, "354 go") != '3' || !talking) continue;
      if (ways.answers.contains("HALF")) {
        talk.exactly(1024);
        answer("HALF", "HALF", "");
        continue;
      }
      keep(talk.message());
    } else if (verb == "BDAT") {
      std::size_t octets = 0;
      const auto digits = std::string_view{*line}.substr(5);
      std::from_chars(digits.data(), digits.data() + digits.size(), octets);
      keep(talk.exactly(octets));
    } else if (verb == "AUTH") {
      answer(verb, *line, "235 in");
    } else if (verb == "QUIT") {
      answer(verb, *line, "221 bye");
      break;
    } else {
      answer(verb, *line, "250 ok");
    }
  }
  const std::lock_guard lock{mutex_};
  std::erase(open_, socket);
  ::close(socket);
}

}  // namespace test
