#include "house.hpp"

#include <doctest/doctest.h>

#include "mailstore/queue.hpp"
#include "tests/support/wait_for.hpp"
#include "tests/unit/store/expect.hpp"

namespace test {

using namespace smtpd::outbound;

asio::awaitable<MxAnswer> StageNames::exchangers(std::string domain) {
  asked_[domain].push_back(clock_.passed());
  if (const auto found = failing.find(domain); found != failing.end()) co_return MxAnswer{found->second, {}, "a test"};
  co_return MxAnswer{Lookup::found, {{10, "mx." + domain}}, {}};
}

asio::awaitable<AddressAnswer> StageNames::addresses(std::string host) {
  const bool nobody = host.starts_with("mx.") && dead.contains(host.substr(3));
  co_return AddressAnswer{Lookup::found, {nobody ? "127.0.0.9" : "127.0.0.1"}, {}};
}

std::vector<std::int64_t> StageNames::minutes(const std::string& domain) const {
  std::vector<std::int64_t> all;
  const auto found = asked_.find(domain);
  if (found == asked_.end()) return all;
  for (const auto at : found->second) all.push_back(std::chrono::floor<std::chrono::minutes>(at).count());
  return all;
}

std::size_t StageNames::asked(const std::string& domain) const {
  const auto found = asked_.find(domain);
  return found == asked_.end() ? 0 : found->second.size();
}

namespace {

std::shared_ptr<const smtpd::routing::Srs> srs() {
  smtpd::routing::Srs::Terms terms;
  terms.keys = {"a key of sixteen"};
  return std::make_shared<const smtpd::routing::Srs>(std::move(terms));
}

}  // namespace

House::House(std::vector<Ways> ways, Adjust adjust)
    : store(2,
            [this](mailstore::Options& options) {
              options.path = folder.path() / "store";
              options.files = &files;
              options.clock = [this] {
                constexpr auto year_2020 = std::chrono::sys_days{std::chrono::year{2020} / 1 / 1};
                return static_cast<std::uint64_t>(
                    std::chrono::duration_cast<std::chrono::microseconds>(clock.wall() - year_2020).count());
              };
            }),
      stub(std::move(ways)) {
  auto loaded = common::config::parse("/etc/p/pennypost.toml", "",
                                      {{"/etc/p/servers/test.toml",
                                        "kind = \"smtp\"\nlisten = [\"127.0.0.1:2525\"]\nhostname = \"us.test\"\n"
                                        "default_domain = \"example.test\"\n"}});
  REQUIRE(loaded);
  server_ = loaded->config.servers.at(0);
  server_.delivery.jitter = 0;
  server_.outbound.port = stub.port();
  server_.outbound.security = "none";
  if (adjust) adjust(server_);
  start();
}

House::~House() {
  stop();
}

void House::set(const Adjust& adjust) {
  adjust(server_);
  if (scheduler_) scheduler_->set_plans(std::make_shared<const Plans>(make_plans({server_}, srs(), drops).value()));
}

void House::start() {
  worker_ = std::make_unique<Worker>(clock);
  work_.emplace(asio::make_work_guard(worker_->context()));
  Carrier::Setup setup;
  setup.dice = [](std::uint32_t bound) { return bound - 1; };
  setup.unchecked = common::net::TlsClientContext::load(common::net::TlsClientContext::Peer::anyone).value();
  scheduler_ = std::make_unique<Scheduler>(*store, *worker_, names, std::move(setup),
                                           std::make_shared<const Plans>(make_plans({server_}, srs(), drops).value()),
                                           std::chrono::days{3});
  REQUIRE(scheduler_->start());
  quiet();
}

void House::stop() {
  if (!scheduler_) return;
  scheduler_->stop();
  worker_->end_sessions(true);
  quiet();
  store->wait_told();
  scheduler_.reset();
  work_.reset();
  worker_.reset();
}

void House::restart() {
  stop();
  store.reopen();
  start();
}

mailstore::MessageId House::accept(const Post& post) {
  tests::Letter letter{.to = post.boxes, .octets = post.octets, .from = post.from};
  for (const auto& address : post.to)
    letter.remotes.push_back({.address = address, .original_recipient = {}, .notify = post.notify});
  const auto id = tests::got(tests::deliver(*store, letter));
  clock.turn(1ms);  // ids have some microseconds of their own
  return id;
}

mailstore::MessageId House::send(const Post& post) {
  const auto id = accept(post);
  quiet();
  return id;
}

void House::pass(std::chrono::microseconds time) {
  clock.turn(time);
  worker_->deadlines().tick(clock.steady());
  quiet();
}

void House::pass(std::chrono::microseconds time, std::chrono::microseconds step) {
  for (; time > 0us; time -= step) pass(std::min(time, step));
}

void House::quiet() {
  run_until([&] { return worker_->context().poll() == 0 && scheduler_->crowd().wait_empty(0ms); });
}

void House::run_until(const std::function<bool()>& done) {
  const auto patience = std::chrono::steady_clock::now() + 20s;
  while (!done()) {
    REQUIRE(std::chrono::steady_clock::now() < patience);
    worker_->context().run_one_for(2ms);
  }
}

std::vector<mailstore::QueuedRecipient> House::queued() {
  std::vector<mailstore::QueuedRecipient> all;
  std::optional<mailstore::QueuePlace> after;
  for (bool more = true; more;) {
    auto page = tests::got(queue().list({}, after, 1000));
    all.insert(all.end(), page.recipients.begin(), page.recipients.end());
    after = page.last;
    more = page.more;
  }
  return all;
}

std::vector<mailstore::DoneRecipient> House::left() {
  std::vector<mailstore::DoneRecipient> all;
  mailstore::DonePlace after;
  for (bool more = true; more;) {
    auto page = tests::got(queue().done(after, 1000));
    all.insert(all.end(), page.recipients.begin(), page.recipients.end());
    after = page.last;
    more = page.more;
  }
  return all;
}

std::uint64_t House::order(const std::string& address, mailstore::QueueOrder what) {
  std::vector<mailstore::QueueName> chosen;
  for (const auto& each : queued()) {
    if (each.address == address) chosen.push_back(each.name);
  }
  return tests::got(tests::wait_for(queue().order(std::move(chosen), std::move(what))));
}

std::optional<mailstore::QueueDomain> House::domain(const std::string& name) {
  return tests::got(queue().domain(name));
}

std::vector<std::string> House::mailbox(std::size_t number) {
  std::vector<std::string> all;
  const auto box = store.boxes()[number];
  for (const auto& entry : tests::got(tests::entries(*store, box)))
    all.push_back(tests::got(tests::read_message(*store, box, entry)));
  return all;
}

std::vector<mailstore::MessageId> House::mailbox_ids(std::size_t number) {
  std::vector<mailstore::MessageId> all;
  for (const auto& entry : tests::got(tests::entries(*store, store.boxes()[number]))) all.push_back(entry.id);
  return all;
}

std::string field(const std::string& report, const std::string& name) {
  const auto at = report.find("\r\n" + name + ": ");
  if (at == report.npos) return {};
  const auto from = at + name.size() + 4;
  return report.substr(from, report.find("\r\n", from) - from);
}

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t found = 0;
  for (auto at = text.find(what); at != text.npos; at = text.find(what, at + what.size())) ++found;
  return found;
}

}  // namespace test
