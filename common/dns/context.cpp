#include "common/dns/context.hpp"

#include <unbound.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "common/dns/name.hpp"

namespace common::dns {
namespace {

constexpr int class_in = 1;
/// The longest data of a record that we ask for: a preference and a name.
constexpr int rdata_limit = 2 + 255;

// One more lookup than a resolver's worth of sockets would wait in vain behind servers that never answer.
constexpr std::array<std::pair<const char*, const char*>, 11> options = {{
    {"outgoing-range:", "512"},
    {"outgoing-num-tcp:", "32"},
    {"rrset-cache-size:", "4m"},
    {"msg-cache-size:", "2m"},
    {"key-cache-size:", "1m"},
    {"neg-cache-size:", "256k"},
    {"infra-cache-numhosts:", "2000"},
    // A name server that was away is asked again soon: 15 minutes is the library's own idea.
    {"infra-host-ttl:", "60"},
    {"infra-keep-probing:", "yes"},
    // Private sites have reverse zones of their own for 10.0.0.0/8 and its like.
    {"unblock-lan-zones:", "yes"},
    {"insecure-lan-zones:", "yes"},
}};

// Zones that the library answers itself, and that a private site may use. Nothing of the public root signs them.
constexpr std::array<const char*, 4> private_zones = {
    "test.", "home.arpa.", "127.in-addr.arpa.",
    "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa."};

std::string wire_name(std::string_view text) {
  std::string wire;
  while (!text.empty()) {
    const auto label = text.substr(0, text.find('.'));
    wire += static_cast<char>(label.size());
    wire += label;
    text.remove_prefix(std::min(label.size() + 1, text.size()));
  }
  wire += '\0';
  return wire;
}

std::string wire_address(const asio::ip::address& address) {
  const auto text = [](const auto& octets) { return std::string{octets.begin(), octets.end()}; };
  return address.is_v4() ? text(address.to_v4().to_bytes()) : text(address.to_v6().to_bytes());
}

Raw raw_of(int error, const ub_result* result) {
  if (error != 0 || result == nullptr) return std::unexpected(Error{Errc::temporary, ub_strerror(error)});
  if (result->bogus != 0)
    return std::unexpected(Error{Errc::bogus, result->why_bogus == nullptr ? "" : result->why_bogus});
  if (result->nxdomain != 0) return std::unexpected(Error{Errc::no_name, "no such name"});
  if (result->rcode != 0)
    return std::unexpected(Error{Errc::temporary, "the name servers failed, code " + std::to_string(result->rcode)});
  if (result->havedata == 0) return std::unexpected(Error{Errc::no_data, "no such record"});
  Answer<std::string> answer;
  for (std::size_t i = 0; result->data[i] != nullptr && answer.records.size() < most_records; ++i) {
    if (result->len[i] < 0 || result->len[i] > rdata_limit) continue;
    answer.records.emplace_back(result->data[i], static_cast<std::size_t>(result->len[i]));
  }
  const char* const name = result->canonname != nullptr ? result->canonname : result->qname;
  answer.name = canonical_name(name).value_or("");
  answer.secure = result->secure != 0;
  answer.ttl = std::chrono::seconds{result->ttl};
  return answer;
}

}  // namespace

std::optional<Raw> find_fixed(const Settings& settings, const Question& question) {
  Answer<std::string> answer;
  if (question.type == Type::ptr) {
    for (const auto& [name, addresses] : settings.hosts) {
      const bool its =
          std::ranges::any_of(addresses, [&](const auto& address) { return reverse_name(address) == question.name; });
      if (its && answer.records.size() < most_records) answer.records.push_back(wire_name(name));
    }
    if (answer.records.empty()) return std::nullopt;
    return answer;
  }
  const auto host = settings.hosts.find(question.name);
  if (host == settings.hosts.end()) return std::nullopt;
  for (const auto& address : host->second) {
    const auto wanted = question.type == Type::a ? address.is_v4() : question.type == Type::aaaa && address.is_v6();
    if (wanted && answer.records.size() < most_records) answer.records.push_back(wire_address(address));
  }
  if (answer.records.empty()) return std::unexpected(Error{Errc::no_data, "dns.hosts has no such record"});
  answer.name = question.name;
  return answer;
}

struct Context::Flight {
  Context* context;
  Done done;

  static void land(void* own, int error, ub_result* result) {
    auto* const flight = static_cast<Flight*>(own);
    Raw raw = raw_of(error, result);
    ub_resolve_free(result);
    flight->context->flights_.erase(flight);
    const std::unique_ptr<Flight> last{flight};
    last->done(std::move(raw));
  }
};

void Context::Delete::operator()(ub_ctx* context) const {
  ub_ctx_delete(context);
}

Context::~Context() {
  context_.reset();
  for (const auto* flight : flights_) delete flight;
}

std::expected<std::unique_ptr<Context>, std::string> Context::make(Settings settings) {
  std::unique_ptr<Context> made{new Context{std::move(settings)}};
  auto done = made->set_up();
  if (!done) return std::unexpected(std::move(done.error()));
  return made;
}

std::expected<void, std::string> Context::set_up() {
  context_.reset(ub_ctx_create());
  if (!context_) return std::unexpected("the DNS resolver cannot be set up: no memory or no descriptors");
  std::string wrong;
  const auto check = [&](int error, std::string_view what) {
    if (error != 0 && wrong.empty())
      wrong = "the DNS resolver does not take " + std::string{what} + ": " + ub_strerror(error);
  };
  auto* const context = context_.get();
  // What it has to say comes with each answer; its own output would fall between the lines of the log.
  check(ub_ctx_debugout(context, nullptr), "silence");
  check(ub_ctx_async(context, 1), "a thread");
  for (const auto& [name, value] : options) check(ub_ctx_set_option(context, name, value), name);
  for (const auto& server : settings_.servers) check(ub_ctx_set_fwd(context, server.c_str()), server);
  for (const auto& anchor : settings_.anchors) check(ub_ctx_add_ta(context, anchor.c_str()), "a trust anchor");
  for (const auto& zone : settings_.insecure) check(ub_ctx_set_option(context, "domain-insecure:", zone.c_str()), zone);
  for (const auto* zone : private_zones) check(ub_ctx_set_option(context, "domain-insecure:", zone), zone);
  // From the first of these on its options are fixed.
  for (const auto* zone : private_zones) check(ub_ctx_zone_remove(context, zone), zone);
  if (!wrong.empty()) return std::unexpected(std::move(wrong));
  return {};
}

void Context::ask(const Question& question, Done done) {
  auto flight = std::make_unique<Flight>(this, std::move(done));
  const int error = ub_resolve_async(context_.get(), question.name.c_str(), static_cast<int>(question.type), class_in,
                                     flight.get(), Flight::land, nullptr);
  if (error != 0) return flight->done(std::unexpected(Error{Errc::temporary, ub_strerror(error)}));
  flights_.insert(flight.release());
}

int Context::descriptor() const {
  return ub_fd(context_.get());
}

void Context::process() {
  ub_process(context_.get());
}

}  // namespace common::dns
