#include "common/dns/resolver.hpp"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <asio/associated_cancellation_slot.hpp>
#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/post.hpp>
#include <asio/prefer.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>
#include <atomic>
#include <optional>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/clock.hpp"
#include "common/dns/context.hpp"
#include "common/dns/name.hpp"
#include "common/log.hpp"

namespace common::dns {
namespace {

using Done = std::move_only_function<void(Raw)>;

/// Zones that fail to validate are told of this often at most.
constexpr std::chrono::minutes bogus_rest{1};

}  // namespace

/// What the resolver's thread does. Questions, cancellations and new settings are posted to it, in their order, so that
/// it needs no locks.
class Resolver::Core {
 public:
  ~Core() { stop(); }

  std::expected<void, std::string> configure(Settings settings);
  std::uint64_t next_id() { return ++last_id_; }
  void ask(std::uint64_t id, Question question, Done done) {
    if (!configured_) return done(std::unexpected(Error{Errc::temporary, "there is no resolver"}));
    asio::post(io_, [this, id, question = std::move(question), done = std::move(done)]() mutable {
      begin(id, question, std::move(done));
    });
  }
  void cancel(std::uint64_t id) {
    asio::post(io_, [this, id] { finish(id, std::unexpected(Error{Errc::cancelled, "cancelled"})); });
  }
  void stop();

 private:
  /// A context, and the wait for it.
  struct Running {
    Running(asio::io_context& io, std::unique_ptr<Context> made)
        : context(std::move(made)), ready(io, context->descriptor()) {}
    ~Running() { ready.release(); }  // the library closes it
    std::unique_ptr<Context> context;
    asio::posix::stream_descriptor ready;
  };
  struct Waiter {
    Done done;
    std::unique_ptr<asio::steady_timer> limit;
  };

  void run();
  void begin(std::uint64_t id, const Question& question, Done done);
  void finish(std::uint64_t id, Raw raw);
  void take_over(std::unique_ptr<Context> context);
  void wait(const std::shared_ptr<Running>& running);
  void tell_bogus(const Error& error, const std::string& name);
  std::size_t asking() const;

  asio::io_context io_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_{io_.get_executor()};
  std::vector<std::shared_ptr<Running>> contexts_;  ///< the newest last; the others until their last answer is there
  std::unordered_map<std::uint64_t, Waiter> waiters_;
  std::optional<Clock::Steady> told_bogus_;
  std::atomic<std::uint64_t> last_id_{0};
  std::atomic<bool> configured_{false};  ///< the thread is there, and a context
  bool told_unvalidated_ = false;
  bool stopping_ = false;
  std::thread thread_;
};

std::expected<void, std::string> Resolver::Core::configure(Settings settings) {
  const bool unvalidated =
      settings.anchors.empty() && std::ranges::find(settings.insecure, ".") == settings.insecure.end();
  auto made = Context::make(std::move(settings));
  if (!made) return std::unexpected(std::move(made.error()));
  if (unvalidated && !std::exchange(told_unvalidated_, true)) {
    log::warning("dns.not-validated", {{"why", "/usr/share/dns/root.key has no trust anchor"},
                                       {"remedy", "install dns-root-data, or write \".\" into dns.insecure"}});
  }
  asio::post(io_, [this, context = std::move(*made)]() mutable { take_over(std::move(context)); });
  if (!thread_.joinable()) thread_ = std::thread{[this] { run(); }};
  configured_ = true;
  return {};
}

void Resolver::Core::run() {
  // Signals are the main thread's; libunbound's thread, a child of this one, is as deaf.
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  pthread_setname_np(pthread_self(), "dns");
  io_.run();
}

void Resolver::Core::stop() {
  io_.stop();
  if (thread_.joinable()) thread_.join();
  // Questions that were not begun lie in the context's queue: the thread is gone, so they are ended here.
  stopping_ = true;
  contexts_.clear();
  io_.restart();
  io_.poll();
  while (!waiters_.empty())
    finish(waiters_.begin()->first, std::unexpected(Error{Errc::cancelled, "the resolver is gone"}));
}

void Resolver::Core::take_over(std::unique_ptr<Context> context) {
  if (stopping_) return;
  std::erase_if(contexts_, [](const auto& running) { return running->context->asking() == 0; });
  contexts_.push_back(std::make_shared<Running>(io_, std::move(context)));
  wait(contexts_.back());
}

void Resolver::Core::wait(const std::shared_ptr<Running>& running) {
  const auto on_ready = [this, weak = std::weak_ptr{running}](const asio::error_code& error) {
    const auto ready = weak.lock();
    if (error || !ready) return;
    ready->context->process();
    if (ready->context->asking() == 0 && ready != contexts_.back()) {
      std::erase(contexts_, ready);
    } else {
      wait(ready);
    }
  };
  running->ready.async_wait(asio::posix::stream_descriptor::wait_read, on_ready);
}

std::size_t Resolver::Core::asking() const {
  std::size_t sum = 0;
  for (const auto& running : contexts_) sum += running->context->asking();
  return sum;
}

void Resolver::Core::begin(std::uint64_t id, const Question& question, Done done) {
  if (stopping_) return done(std::unexpected(Error{Errc::cancelled, "the resolver is gone"}));
  auto& context = *contexts_.back()->context;
  if (auto fixed = find_fixed(context.settings(), question)) return done(std::move(*fixed));
  if (asking() >= most_asking) return done(std::unexpected(Error{Errc::temporary, "too many lookups at once"}));
  auto limit = std::make_unique<asio::steady_timer>(io_, context.settings().timeout);
  limit->async_wait([this, id](const asio::error_code& error) {
    if (!error) finish(id, std::unexpected(Error{Errc::timeout, "no answer within dns.timeout"}));
  });
  waiters_.emplace(id, Waiter{std::move(done), std::move(limit)});
  context.ask(question, [this, id, name = question.name](Raw raw) {
    if (!raw && raw.error().code == Errc::bogus) tell_bogus(raw.error(), name);
    finish(id, std::move(raw));
  });
}

void Resolver::Core::finish(std::uint64_t id, Raw raw) {
  // Somebody else may have been quicker: the answer, the clock, the caller.
  const auto waiter = waiters_.extract(id);
  if (waiter) waiter.mapped().done(std::move(raw));
}

void Resolver::Core::tell_bogus(const Error& error, const std::string& name) {
  const auto now = system_clock_source().steady();
  if (told_bogus_ && now - *told_bogus_ < bogus_rest) return;
  told_bogus_ = now;
  log::warning("dns.bogus", {{"name", name},
                             {"why", error.detail},
                             {"remedy", "if the name servers cannot do DNSSEC, write \".\" into dns.insecure"}});
}

Resolver::Resolver() : core_(std::make_shared<Core>()) {}

Resolver::~Resolver() {
  core_->stop();
}

std::expected<void, std::string> Resolver::configure(Settings settings) {
  return core_->configure(std::move(settings));
}

asio::awaitable<Raw> Resolver::ask(Question question) {
  auto hand_in = [this, &question](auto handler) {
    auto executor = asio::prefer(asio::get_associated_executor(handler), asio::execution::outstanding_work.tracked);
    auto slot = asio::get_associated_cancellation_slot(handler);
    const auto id = core_->next_id();
    if (slot.is_connected()) {
      slot.assign([core = std::weak_ptr{core_}, id](asio::cancellation_type) {
        if (const auto alive = core.lock()) alive->cancel(id);
      });
    }
    core_->ask(id, std::move(question), [executor, slot, resume = std::move(handler)](Raw raw) mutable {
      // What counts as work goes along: once this is posted its context may be gone at any moment.
      const auto there = asio::prefer(executor, asio::execution::outstanding_work.untracked);
      asio::post(there,
                 [executor = std::move(executor), slot, resume = std::move(resume), raw = std::move(raw)]() mutable {
                   if (slot.is_connected()) slot.clear();
                   resume(std::move(raw));
                 });
    });
  };
  auto raw = co_await asio::async_initiate<const asio::use_awaitable_t<>&, void(Raw)>(hand_in, asio::use_awaitable);
  co_return raw;
}

asio::awaitable<Result<asio::ip::address>> Resolver::addresses(std::string name, Family family) {
  auto canonical = canonical_name(name);
  if (!canonical) co_return std::unexpected(Error{Errc::no_name, "not a host name"});
  const Type type = family == Family::v4 ? Type::a : Type::aaaa;
  Question question{std::move(*canonical), type};
  auto raw = co_await ask(std::move(question));
  co_return parse_records<asio::ip::address>(std::move(raw), [type](auto rdata) { return parse_address(type, rdata); });
}

asio::awaitable<Result<MailExchanger>> Resolver::exchangers(std::string domain) {
  auto canonical = canonical_name(domain);
  if (!canonical) co_return std::unexpected(Error{Errc::no_name, "not a host name"});
  Question question{std::move(*canonical), Type::mx};
  auto raw = co_await ask(std::move(question));
  co_return parse_records<MailExchanger>(std::move(raw), [](auto rdata) { return parse_exchanger(rdata); });
}

asio::awaitable<Result<std::string>> Resolver::names(asio::ip::address address) {
  Question question{reverse_name(address), Type::ptr};
  auto raw = co_await ask(std::move(question));
  co_return parse_records<std::string>(std::move(raw), [](auto rdata) { return parse_pointer(rdata); });
}

}  // namespace common::dns
