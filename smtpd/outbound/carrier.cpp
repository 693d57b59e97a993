#include "smtpd/outbound/carrier.hpp"

#include <algorithm>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/use_awaitable.hpp>

#include "common/log.hpp"

#include "smtpd/outbound/reply_answer.hpp"

namespace smtpd::outbound {
namespace {

namespace log = common::log;

// Addresses that one attempt tries; the rest of a long list has its turn another time.
constexpr std::uint32_t places_limit = 8;
// Connections that one attempt makes: each that is used up (S45) has taken messages for some of the recipients.
constexpr std::uint32_t connections_limit = 1000;

bool is_settled(const Answer& answer) {
  return answer.outcome != Outcome::untried && !(answer.outcome == Outcome::temporary && answer.elsewhere);
}

/// The peer, or what stands before it, has too much of us (RFC 3463 3.4: 4.3.2, 4.4.5).
bool wants_less(const Answer& answer) {
  if (answer.code == 421 || answer.enhanced == "4.3.2" || answer.enhanced == "4.4.5") return true;
  return answer.code / 100 == 4 && (answer.stage == Stage::greeting || answer.stage == Stage::hello);
}

Answer this_server(const std::string& host, const std::string& where) {
  return own_answer(Stage::routing, "5.4.6", host + " " + where + ": that is this server");
}

/// What makes two connections alike: a message may go by either.
std::string connection_key(const Route& route, const ClientTerms& terms, std::string_view host, std::uint16_t port) {
  std::string key{host};
  key += ':';
  key += std::to_string(port);
  for (const auto part : {std::string_view{terms.hostname}, name_of(terms.security),
                          std::string_view{terms.hello == Hello::helo ? "helo" : "ehlo"},
                          terms.credentials ? std::string_view{terms.credentials->account} : std::string_view{}}) {
    key += ' ';
    key += part;
  }
  for (const auto& source : route.bind) {
    key += ' ';
    key += source;
  }
  return key;
}

}  // namespace

/// One call of `carry`.
struct Carrier::Work {
  const Route& route;
  const Message& message;
  const Body& body;
  Delivery& delivery;
  std::shared_ptr<const ClientTerms> terms;
  std::vector<Answer> failures{};  ///< of hosts
  std::uint32_t places = 0;
  // The recipients that are still to be tried, when these are not all.
  Message rest{};
  std::vector<std::size_t> numbers{};
  std::vector<Answer> answers{};
  bool stale = false;

  bool settled() const { return std::ranges::all_of(delivery.answers, is_settled); }
  bool may_go_on() const { return !settled() && places < places_limit; }
  void note(const Answer& answer) {
    if (wants_less(answer)) delivery.sign = Pace::Sign::slower;
  }
  void fail(Answer answer) {
    answer.elsewhere = true;
    note(answer);
    failures.push_back(std::move(answer));
  }
  /// No server was found to speak to, for want of names and addresses.
  bool unknown_to_dns() const { return delivery.connections == 0 && !settled() && is_unknown_to_dns(failures); }
  void finish();
};

/// Whoever has no answer of their own gets that of the route.
void Carrier::Work::finish() {
  for (std::size_t i = 0; i < delivery.answers.size(); ++i) {
    auto& answer = delivery.answers[i];
    if (answer.outcome == Outcome::untried) {
      answer = failures.empty() ? own_answer(Stage::ours, "4.4.0", "not tried this time") : worst_hope(failures);
    }
    if (answer.outcome == Outcome::delivered) continue;
    note(answer);
    if (answer.outcome != Outcome::unknown) continue;
    log::warning("outbound.reply_lost", {{"id", message.id},
                                         {"to", message.recipients[i].path},
                                         {"host", delivery.host},
                                         {"peer", delivery.address},
                                         {"why", answer.text}});
  }
}

struct Carrier::Place {
  std::string key, host, address;
  std::uint16_t port = 0;
};

Carrier::Carrier(common::net::Worker& worker, NameService& names, Setup setup)
    : worker_(worker),
      names_(names),
      setup_(std::move(setup)),
      doors_(std::make_shared<Doors>(worker.context().get_executor())),
      pool_(setup_.most_idle, setup_.keep_idle) {}

Carrier::~Carrier() = default;

asio::awaitable<Delivery> Carrier::carry(const Route& route, const Message& message, const Body& body) {
  Delivery delivery;
  delivery.answers.assign(message.recipients.size(), Answer{});
  Work work{route, message, body, delivery, route.terms};
  co_await try_route(work);
  // S68: only for what DNS does not know. A domain that wants no mail, or leads back to us, is known.
  if (route.fallback && work.unknown_to_dns()) {
    work.failures.clear();
    work.terms = route.fallback_terms ? route.fallback_terms : route.terms;
    co_await try_host(work, route.fallback->host, route.fallback->port);
  }
  work.finish();
  co_return delivery;
}

asio::awaitable<void> Carrier::try_route(Work& work) {
  const auto& route = work.route;
  if (route.via) {
    co_await try_host(work, route.via->host, route.via->port);
    co_return;
  }
  const auto found = co_await names_.exchangers(route.domain);
  auto hosts = choose_exchangers(route.domain, found, setup_.own_names, setup_.dice);
  if (!hosts) {
    work.fail(std::move(hosts.error()));
    co_return;
  }
  // Among equals, one that a connection rests to.
  const auto next =
      std::ranges::find_if(*hosts, [&](const Exchanger& each) { return each.preference != hosts->front().preference; });
  const auto rests = std::find_if(hosts->begin(), next, [&](const Exchanger& each) {
    return pool_.has(connection_key(route, *work.terms, each.host, route.port));
  });
  if (rests != next) std::rotate(hosts->begin(), rests, rests + 1);
  for (const auto& each : *hosts) {
    if (!work.may_go_on()) break;
    co_await try_host(work, each.host, route.port);
  }
}

asio::awaitable<void> Carrier::try_host(Work& work, std::string host, std::uint16_t port) {
  Place place{connection_key(work.route, *work.terms, host, port), std::move(host), {}, port};
  co_await try_resting(work, place.key);
  if (work.settled()) co_return;

  std::vector<std::string> addresses;
  if (common::is_numeric_address(place.host)) {
    addresses.push_back(place.host);
  } else {
    auto found = co_await names_.addresses(place.host);
    addresses = order_addresses(found.addresses, families_of(work.route.bind));
    if (addresses.empty()) work.fail(no_address(place.host, found));
  }
  for (auto& address : addresses) {
    if (!work.may_go_on()) break;
    place.address = std::move(address);
    ++work.places;
    co_await try_address(work, place);
  }
}

/// Connections that the peer has closed meanwhile are passed over.
asio::awaitable<void> Carrier::try_resting(Work& work, const std::string& key) {
  while (!work.settled()) {
    auto resting = pool_.take(key);
    if (!resting) break;
    Session session = std::move(*resting);
    if (!session->fresh()) continue;
    co_await use(work, *session);
    release(key, std::move(session));
    if (!work.stale) break;
  }
}

asio::awaitable<void> Carrier::try_address(Work& work, const Place& place) {
  while (work.delivery.connections < connections_limit) {
    Session session = co_await connect(work, place, Attempt::first);
    if (session && session->conversation().tls_broke()) {
      work.delivery.tls_trouble = session->conversation().failure()->text;
      session = {};
      session = co_await connect(work, place, Attempt::without_tls);
    }
    if (!session) co_return;
    if (session->conversation().failure()) {
      work.fail(*session->conversation().failure());
      co_return;
    }
    const auto before = std::ranges::count_if(work.delivery.answers, is_settled);
    co_await use(work, *session);
    const bool used_up = !session->conversation().reusable();
    release(place.key, std::move(session));
    // A connection may take fewer messages than this one's recipients need (S45): the next takes the rest.
    const bool more =
        std::ranges::any_of(work.delivery.answers, [](const Answer& each) { return each.outcome == Outcome::untried; });
    const bool moved = std::ranges::count_if(work.delivery.answers, is_settled) > before;
    if (!more || !used_up || !moved) co_return;
  }
}

/// Where as many are open as may be, those that rest or take their leave go before another comes.
asio::awaitable<void> Carrier::make_room(const Route& route, const std::string& key) {
  while (!worker_.ending()) {
    const bool full = route.most_in_all != 0 && doors_->open() >= route.most_in_all;
    if (full && pool_.size() > 0) say_goodbye(std::move(*pool_.take_oldest()));
    const bool full_here = route.most_here != 0 && doors_->open(key) >= route.most_here;
    const bool helps = (full && doors_->leaving() > 0) || (full_here && doors_->leaving(key) > 0);
    if (!helps) {
      if (full && pool_.size() > 0) continue;  // that one was closed at once
      co_return;
    }
    co_await doors_->wait_for_leaving();
  }
}

/// Null: there is no connection. One that came no further than its opening says why.
asio::awaitable<Carrier::Session> Carrier::connect(Work& work, const Place& place, Attempt attempt) {
  const auto& route = work.route;
  const auto where = common::format_host_port({place.address, true, place.port});
  co_await make_room(route, place.key);
  Session made{doors_->enter(place.key), nullptr};
  if (worker_.ending()) {
    work.fail(own_answer(Stage::ours, "4.3.0", "this server is about to stop"));
    co_return Session{};
  }
  const auto listens = [&](std::string_view address) {
    return std::ranges::any_of(setup_.own_listeners,
                               [&](const auto& own) { return own.first == address && own.second == place.port; });
  };
  if (listens(place.address)) {
    work.fail(this_server(place.host, where));
    co_return Session{};
  }
  ++work.delivery.connections;
  work.delivery.host = place.host;
  work.delivery.address = place.address;
  work.delivery.port = place.port;
  work.delivery.tls.clear();
  auto stream = co_await common::net::Stream::connect(worker_, place.address, place.port,
                                                      source_for(route, place.address), work.terms->timeouts.connect);
  if (!stream) {
    work.fail(own_answer(Stage::connect, "4.4.1", place.host + " " + where + ": " + stream.error()));
    co_return Session{};
  }
  // A listener on every address names none: but who speaks from the address that is spoken to speaks to this machine,
  // and so does who speaks to any of 127.0.0.0/8.
  const bool here = stream->local_address() == place.address || place.address.starts_with("127.");
  if (here && listens(common::is_ipv6(place.address) ? "::" : "0.0.0.0")) {
    work.fail(this_server(place.host, where));
    co_return Session{};
  }
  const auto& tls = work.terms->security == Security::verify ? setup_.verified : setup_.unchecked;
  made.session = std::make_unique<ClientSession>(worker_, std::move(*stream), place.host, work.terms, tls, attempt);
  co_await made->open();
  co_return made;
}

asio::awaitable<void> Carrier::use(Work& work, ClientSession& session) {
  auto& all = work.delivery.answers;
  work.delivery.host = session.host();
  work.delivery.address = session.address();
  work.delivery.port = session.port();
  work.delivery.tls = session.tls();
  if (std::ranges::none_of(all, [](const Answer& each) { return each.outcome != Outcome::untried; })) {
    co_await session.send(work.message, work.body, all);
  } else {
    work.rest = work.message;
    work.rest.recipients.clear();
    work.numbers.clear();
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (is_settled(all[i])) continue;
      work.rest.recipients.push_back(work.message.recipients[i]);
      work.numbers.push_back(i);
    }
    co_await session.send(work.rest, work.body, work.answers);
    for (std::size_t i = 0; i < work.numbers.size(); ++i) {
      if (work.answers[i].outcome != Outcome::untried) all[work.numbers[i]] = std::move(work.answers[i]);
    }
  }
  work.stale = session.conversation().stale();
}

// ---- connections that rest

void Carrier::release(std::string key, Session session) {
  // Whether it stays silent is seen when it is taken again.
  if (!session->conversation().reusable()) {
    say_goodbye(std::move(session));
    return;
  }
  auto out = pool_.put(std::move(key), std::move(session), worker_.clock().steady());
  if (out) say_goodbye(std::move(*out));
  watch();
}

/// QUIT, for which nobody waits.
void Carrier::say_goodbye(Session session) {
  if (!session->conversation().resting()) return;
  session.ticket.leave();
  auto farewell = [](Session leaving) -> asio::awaitable<void> { co_await leaving->quit(); };
  asio::co_spawn(worker_.context(), farewell(std::move(session)), asio::detached);
}

void Carrier::watch() {
  if (const auto next = pool_.next_expiry()) worker_.deadlines().set(tidying_, *next, &Carrier::tidy, this);
}

void Carrier::tidy(void* context) {
  auto& self = *static_cast<Carrier*>(context);
  for (auto& each : self.pool_.take_expired(self.worker_.clock().steady())) self.say_goodbye(std::move(each));
  self.watch();
}

std::string Carrier::source_for(const Route& route, const std::string& address) {
  std::vector<const std::string*> fitting;
  for (const auto& source : route.bind) {
    if (common::is_ipv6(source) == common::is_ipv6(address)) fitting.push_back(&source);
  }
  if (fitting.empty()) return {};
  return *fitting[fitting.size() == 1 ? 0 : setup_.dice(static_cast<std::uint32_t>(fitting.size()))];
}

}  // namespace smtpd::outbound
