#include "smtpd/folders/homes.hpp"

#include <pthread.h>
#include <signal.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <fmt/format.h>
#include <algorithm>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/experimental/as_tuple.hpp>
#include <asio/post.hpp>
#include <asio/use_awaitable.hpp>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "common/log.hpp"

namespace smtpd::folders {
namespace {

namespace log = common::log;
constexpr auto awaitable = asio::experimental::as_tuple(asio::use_awaitable);

/// Files that had to wait are looked at again, and what was counted is set right.
constexpr std::chrono::seconds look_again{2};
/// What could not be moved to the badmail folder: a full disk is seldom full for seconds only.
constexpr std::chrono::minutes refused_again{1};
constexpr std::uint32_t looks_between_care = 30;
/// Programs take many files out at a time; counted once.
constexpr std::chrono::milliseconds until_counted{100};
constexpr std::size_t page_rows = 200;
constexpr std::size_t page_domains = 1000;
constexpr int rest_for_work = 20;

}  // namespace

/// A virtual server's folders.
struct Homes::Place {
  explicit Place(Setup given) : setup(std::move(given)), badmail(setup.home.badmail) {}
  Setup setup;
  BadmailFolder badmail;
  std::optional<PickupReader> reader;
  std::optional<Taker> taker;
  std::string trouble;  ///< why nothing is taken from its pickup folder, as it was told

  bool ended() const { return !taker || taker->ended(); }
};

Homes::Homes(mailstore::Store& store, common::dns::Resolver& resolver, const common::Clock& clock,
             std::function<BadmailCounts()> elsewhere)
    : store_(store),
      clock_(clock),
      elsewhere_(std::move(elsewhere)),
      worker_(std::make_unique<common::net::Worker>(clock)),
      entrance_({store, *worker_, resolver}, "pickup", Entrance::Refused::file),
      again_(worker_->context()),
      watch_(worker_->context()) {}

Homes::~Homes() {
  stop(std::chrono::milliseconds{0});
}

std::expected<void, std::string> Homes::start(std::vector<Setup> servers) {
  // Who opens a file to write while it is leased for a moment: the kernel says so by a signal that would end us.
  ::signal(SIGIO, SIG_IGN);
  const int events = ::inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (events < 0)
    return std::unexpected(
        fmt::format("folders cannot be watched: {}; raise fs.inotify.max_user_instances", std::strerror(errno)));
  watch_.assign(events);
  for (auto& server : servers) {
    auto place = std::make_unique<Place>(std::move(server));
    if (auto opened = open(*place); !opened) return opened;
    const auto name = place->setup.server;
    places_.emplace(name, std::move(place));
  }
  count_waiting();
  asio::co_spawn(worker_->context(), watch_drops(), asio::detached);
  asio::co_spawn(worker_->context(), look_regularly(), asio::detached);
  thread_ = std::thread([this] {
    // Signals are the main thread's.
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    pthread_setname_np(pthread_self(), "folders");
    worker_->run();
  });
  return {};
}

std::expected<void, std::string> Homes::open(Place& place) {
  const auto& home = place.setup.home;
  if (!home.badmail.empty()) place.badmail.clear_notes();
  if (place.setup.drop) {
    watch_drop(place);
    place.setup.drop->count();
  }
  if (home.pickup.empty()) return {};
  return open_pickup(place);
}

std::expected<void, std::string> Homes::open_pickup(Place& place) {
  const auto& home = place.setup.home;
  place.taker.reset();
  place.reader.emplace(store_, clock_, place.setup.in_force);
  Taker::Setup setup;
  setup.folder = home.pickup;
  setup.source = "pickup of " + place.setup.server;
  setup.read = [&place](const OpenedFile& file) { return place.reader->read(file); };
  setup.accept = [this](const OpenedFile& file, Message message, std::string origin) {
    return accept(file, std::move(message), std::move(origin));
  };
  setup.refused = [this, &place](int folder, const std::string& name, const Unread& unread, Taker::Try which) {
    return refuse(place, folder, name, unread, which);
  };
  setup.refused_again = refused_again;
  setup.check = [where = home.pickup] { return check_pickup(where); };
  setup.look_again = look_again;
  place.taker.emplace(worker_->context(), store_, std::move(setup));
  auto started = place.taker->start();
  if (!started) place.taker.reset();
  return started;
}

/// Once, until it is another trouble: who had the folder before may not have ended yet.
void Homes::try_again(Place& place) {
  if (place.setup.home.pickup.empty() || place.taker) return;
  auto opened = open_pickup(place);
  auto trouble = opened ? std::string{} : std::move(opened.error());
  if (trouble != place.trouble && !trouble.empty())
    log::error("folder.failed", {{"server", place.setup.server}, {"why", trouble}});
  place.trouble = std::move(trouble);
}

asio::awaitable<std::optional<Unread>> Homes::accept(const OpenedFile& file, Message message, std::string origin) {
  auto accepting = entrance_.accept(file, std::move(message), std::move(origin));
  auto unread = co_await std::move(accepting);
  if (!unread) taken_.fetch_add(1, std::memory_order_relaxed);
  co_return unread;
}

void Homes::watch_drop(const Place& place) {
  const int watch = ::inotify_add_watch(watch_.native_handle(), place.setup.drop->path().c_str(),
                                        IN_DELETE | IN_MOVED_FROM | IN_ONLYDIR);
  if (watch >= 0) watched_[watch] = place.setup.drop;
}

bool Homes::refuse(Place& place, int folder, const std::string& name, const Unread& unread, Taker::Try which) {
  const auto& server = place.setup.server;
  const BadmailNote note{unread.cause, unread.text, name, server};
  const auto put = place.badmail.put(folder, name, note, clock_);
  if (!put) {
    if (which == Taker::Try::first && !put.error().empty())
      log::error("badmail.failed", {{"file", name}, {"why", put.error()}, {"server", server}});
    return false;
  }
  const auto& id = *put;
  counts_[std::to_underlying(unread.cause)].fetch_add(1, std::memory_order_relaxed);
  log::warning(
      "message.badmail",
      {{"id", id}, {"cause", name_of(unread.cause)}, {"why", unread.text}, {"file", name}, {"server", server}});
  return true;
}

void Homes::reload(std::vector<Setup> servers) {
  asio::post(worker_->context(), [this, servers = std::move(servers)]() mutable {
    std::map<std::string, std::unique_ptr<Place>, std::less<>> next;
    std::vector<std::unique_ptr<Place>> fresh;
    for (auto& server : servers) {
      const auto name = server.server;
      const auto old = places_.find(name);
      if (old != places_.end() && old->second->setup.home.badmail == server.home.badmail &&
          old->second->setup.home.pickup == server.home.pickup) {
        old->second->setup.badmail_size = server.badmail_size;
        next.emplace(name, std::move(old->second));
        places_.erase(old);
      } else {
        fresh.push_back(std::make_unique<Place>(std::move(server)));
      }
    }
    for (auto& [name, place] : places_) {
      if (place->taker) place->taker->stop();
      leaving_.push_back(std::move(place));
    }
    places_ = std::move(next);
    for (auto& place : fresh) {
      // The next look tries again, and tells.
      (void)open(*place);
      const auto name = place->setup.server;
      places_.emplace(name, std::move(place));
    }
  });
}

void Homes::stop(std::chrono::milliseconds grace) {
  if (!thread_.joinable()) return;
  const auto end = [this, grace]() -> asio::awaitable<void> {
    constexpr std::chrono::milliseconds step{5};
    const auto until = std::chrono::steady_clock::now() + grace;
    stopping_ = true;
    again_.cancel();
    asio::error_code ignored;
    watch_.cancel(ignored);
    for (auto& [name, place] : places_) {
      if (place->taker) place->taker->stop();
    }
    const auto busy = [](const auto& place) { return !place->ended(); };
    asio::steady_timer timer{worker_->context()};
    while (std::chrono::steady_clock::now() < until &&
           (std::ranges::any_of(leaving_, busy) ||
            std::ranges::any_of(places_, [&](const auto& each) { return busy(each.second); }))) {
      timer.expires_after(step);
      co_await timer.async_wait(awaitable);
    }
    worker_->stop();
  };
  asio::co_spawn(worker_->context(), end, asio::detached);
  thread_.join();
}

BadmailCounts Homes::counts() const {
  auto all = elsewhere_();
  for (std::size_t i = 0; i < badmail_causes; ++i) all[i] += counts_[i].load(std::memory_order_relaxed);
  return all;
}

void Homes::add_status(nlohmann::json& status) const {
  status["pickup"] = {{"taken", taken_.load(std::memory_order_relaxed)}};
  const auto all = counts();
  for (std::size_t i = 0; i < badmail_causes; ++i)
    status["badmail"][std::string{name_of(static_cast<BadmailCause>(i))}] = all[i];
}

/// What programs take out of drop makes room there.
asio::awaitable<void> Homes::watch_drops() {
  asio::steady_timer timer{worker_->context()};
  while (!stopping_) {
    const auto [error] = co_await watch_.async_wait(asio::posix::stream_descriptor::wait_read, awaitable);
    if (error || stopping_) co_return;
    timer.expires_after(until_counted);
    co_await timer.async_wait(awaitable);
    for (const auto& drop : read_events()) {
      if (drop) drop->count();
    }
  }
}

std::set<std::shared_ptr<DropFolder>> Homes::read_events() {
  std::array<char, 16 * 1024> octets;
  std::set<std::shared_ptr<DropFolder>> changed;
  for (;;) {
    const auto got = ::read(watch_.native_handle(), octets.data(), octets.size());
    if (got <= 0) return changed;
    std::string_view rest{octets.data(), static_cast<std::size_t>(got)};
    while (rest.size() >= sizeof(inotify_event)) {
      inotify_event event{};
      std::memcpy(&event, rest.data(), sizeof event);
      const auto name = rest.substr(sizeof event, event.len);
      rest.remove_prefix(sizeof event + event.len);
      if ((event.mask & IN_Q_OVERFLOW) != 0) {
        for (const auto& [watch, drop] : watched_) changed.insert(drop.lock());
      } else if (!name.starts_with('.')) {
        if (const auto watch = watched_.find(event.wd); watch != watched_.end()) changed.insert(watch->second.lock());
      }
    }
  }
}

asio::awaitable<void> Homes::look_regularly() {
  BadmailCounts limited{};
  std::uint64_t changes = 0;
  std::chrono::steady_clock::time_point rested{};
  for (std::uint32_t look = 0; !stopping_; ++look) {
    std::erase_if(leaving_, [](const auto& place) { return place->ended(); });
    for (auto& [name, place] : places_) try_again(*place);
    const bool care = look % looks_between_care == 0;
    if (care) {
      count_drops();
      count_waiting();
    }
    const auto queue = store_.queue().status();
    const auto now_changes = queue ? queue->changes : changes;
    const auto begun = std::chrono::steady_clock::now();
    // In a queue of very many domains a look takes long, and not every order of a person is worth one.
    const bool changed = now_changes != changes && begun >= rested;
    if (const auto now = counts(); care || now != limited || changed) {
      limited = now;
      changes = now_changes;
      auto limiting = limit_badmail();
      co_await std::move(limiting);
      const auto ended = std::chrono::steady_clock::now();
      rested = ended + (ended - begun) * rest_for_work;
    }
    again_.expires_after(look_again);
    co_await again_.async_wait(awaitable);
  }
}

/// What lies there, and whether the folder is still the one that is watched. A file that was being placed when we
/// were started is in no other account.
void Homes::count_drops() {
  for (const auto& [name, place] : places_) {
    if (!place->setup.drop) continue;
    watch_drop(*place);
    place->setup.drop->count();
  }
}

/// What the queue holds for the drop folders: people delete from it, and other processes add.
void Homes::count_waiting() {
  std::map<std::string, std::uint64_t, std::less<>> before;
  std::map<std::string, std::uint64_t, std::less<>> octets;
  for (const auto& [name, place] : places_) {
    if (place->setup.drop) before[name] = place->setup.drop->waiting();
  }
  if (before.empty()) return;
  std::vector<std::string> domains;
  {
    const auto directory = store_.directory();
    const auto each = directory->each_domain([&](const mailstore::Domain& domain) {
      if (domain.kind == mailstore::DomainKind::drop) domains.push_back(domain.name);
      return true;
    });
    if (!each) return;
  }
  auto queue = store_.queue();
  for (const auto& domain : domains) {
    std::optional<mailstore::QueuePlace> after;
    mailstore::MessageId last;
    for (bool more = true; more;) {
      const auto page = queue.by_age(domain, after, page_rows);
      if (!page) return;
      for (const auto& row : page->recipients) {
        if (row.name.id != last && row.placing.empty()) octets[row.server] += row.octets;
        last = row.name.id;
      }
      after = page->last;
      more = page->more;
    }
  }
  for (const auto& [name, was] : before) places_.at(name)->setup.drop->correct(was, octets[name]);
}

/// The oldest goes until the rest fits.
asio::awaitable<void> Homes::limit_badmail() {
  struct Item {
    std::uint64_t octets = 0;
    std::vector<mailstore::QueueName> rows{};  ///< none: it is a file
  };
  // By server, then by id: a message is one, for however many domains, and the oldest is first.
  std::map<std::string, std::map<std::uint64_t, Item>, std::less<>> items;
  auto queue = store_.queue();
  std::set<std::uint64_t> events;
  std::string behind;
  for (bool more = true; more;) {
    auto page = queue.domains(behind, page_domains);
    if (!page) co_return;
    behind = page->last;
    more = page->more;
    for (const auto& domain : page->domains) {
      if (domain.held == 0) continue;
      mailstore::QueueFilter filter;
      filter.domain = domain.name;
      filter.state = mailstore::QueueState::held;
      std::optional<mailstore::QueuePlace> after;
      for (bool rows = true; rows;) {
        auto held = queue.list(filter, after, page_rows);
        if (!held) co_return;
        after = held->last;
        rows = held->more;
        for (auto& row : held->recipients) {
          const auto reason = parse_badmail_reason(row.reason);
          if (!reason) continue;
          if (reason->cause == BadmailCause::by_event) events.insert(row.name.id.value);
          auto& item = items[row.server][row.name.id.value];
          item.octets = row.octets;
          item.rows.push_back(std::move(row.name));
        }
      }
    }
  }
  // Said by others than this process: seen here for the first time.
  for (const auto id : events) {
    if (events_ && !events_->contains(id))
      counts_[std::to_underlying(BadmailCause::by_event)].fetch_add(1, std::memory_order_relaxed);
  }
  events_ = std::move(events);
  std::vector<std::string> names;
  names.reserve(places_.size());
  for (const auto& [name, place] : places_) names.push_back(name);
  for (const auto& name : names) {
    const auto place = places_.find(name);
    if (place == places_.end()) continue;
    const auto limit = place->second->setup.badmail_size;
    auto folder = place->second->badmail;  // the place may be gone behind a wait
    auto& all = items[name];
    if (!place->second->setup.home.badmail.empty()) {
      for (const auto& file : folder.list()) all.try_emplace(mailstore::parse_id(file.id)->value, Item{file.octets});
    }
    std::uint64_t octets = 0;
    for (const auto& [number, item] : all) octets += item.octets;
    if (limit == 0 || octets <= limit) continue;
    for (auto& [number, item] : all) {
      if (octets <= limit) break;
      octets -= item.octets;
      const auto id = mailstore::format_id({number});
      if (item.rows.empty()) {
        folder.remove(id);
      } else {
        // Not what somebody has tried again meanwhile.
        mailstore::DeleteOrder badmail{std::string{badmail_mark}};
        auto ordering = queue.order(std::move(item.rows), std::move(badmail));
        const auto deleted = co_await std::move(ordering);
        if (!deleted) co_return;
        if (*deleted == 0) continue;
      }
      log::warning("badmail.purged",
                   {{"id", id}, {"size", item.octets}, {"why", "messages.badmail_size"}, {"server", name}});
    }
  }
}

}  // namespace smtpd::folders
