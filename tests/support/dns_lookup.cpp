// Asks the resolver of the daemons, for tests against real name servers:
//
//   dns_lookup --server ADDRESS:PORT [--anchors FILE] [--insecure ZONE] [--timeout MS] QUESTION...
//
// QUESTION: a:NAME, aaaa:NAME, mx:NAME, ptr:ADDRESS, name:ADDRESS (verified). One JSON object on a line for each, in
// the order of the questions, which are asked one after the other.
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/dns/resolver.hpp"
#include "common/dns/verify.hpp"

namespace {

namespace dns = common::dns;
using Json = nlohmann::json;

Json wrong(const dns::Error& error) {
  constexpr std::string_view codes[] = {"no_name",   "no_data", "malformed", "bogus",
                                        "temporary", "timeout", "cancelled"};
  return {{"error", codes[static_cast<std::size_t>(error.code)]}, {"detail", error.detail}};
}

template <class T, class Show>
Json shown(const dns::Result<T>& result, Show show) {
  if (!result) return wrong(result.error());
  Json records = Json::array();
  for (const auto& record : result->records) records.push_back(show(record));
  return {{"records", records}, {"name", result->name}, {"secure", result->secure}, {"ttl", result->ttl.count()}};
}

asio::awaitable<Json> ask(dns::Resolver& resolver, std::string kind, std::string name) {
  if (kind == "mx") {
    const auto found = co_await resolver.exchangers(name);
    Json json = shown(found, [](const auto& one) { return Json::array({one.preference, one.host}); });
    if (found) json["null"] = dns::is_null_mx(found->records);
    co_return json;
  }
  if (kind == "ptr") {
    const auto found = co_await resolver.names(asio::ip::make_address(name));
    co_return shown(found, [](const auto& one) { return Json(one); });
  }
  if (kind == "name") {
    const auto found = co_await dns::verified_name(resolver, asio::ip::make_address(name));
    if (!found) co_return wrong(found.error());
    co_return Json{{"name", *found}};
  }
  const auto found = co_await resolver.addresses(name, kind == "a" ? dns::Family::v4 : dns::Family::v6);
  co_return shown(found, [](const auto& one) { return Json(one.to_string()); });
}

asio::awaitable<void> ask_all(dns::Resolver& resolver, std::vector<std::string> questions) {
  for (const auto& question : questions) {
    const auto colon = question.find(':');
    const Json json = co_await ask(resolver, question.substr(0, colon), question.substr(colon + 1));
    std::puts(json.dump().c_str());
  }
}

}  // namespace

int main(int argc, char** argv) {
  common::config::Dns config;
  config.timeout = std::chrono::seconds{10};
  dns::SystemFiles files;
  files.anchors = "/nonexistent";
  std::vector<std::string> questions;
  const std::span words{argv, static_cast<std::size_t>(argc)};
  for (std::size_t i = 1; i < words.size(); ++i) {
    const std::string_view word = words[i];
    if (!word.starts_with("--") || i + 1 == words.size()) {
      questions.emplace_back(word);
      continue;
    }
    const std::string value = words[++i];
    if (word == "--server") config.servers.push_back(value);
    if (word == "--anchors") files.anchors = value;
    if (word == "--insecure") config.insecure.push_back(value);
    if (word == "--timeout") config.timeout = std::chrono::milliseconds{std::stoi(value)};
  }
  asio::io_context context{1};
  dns::Resolver resolver;
  auto settings = dns::read_settings(config, files);
  auto configured = settings ? resolver.configure(std::move(*settings)) : std::unexpected(settings.error());
  if (!configured) {
    std::fprintf(stderr, "%s\n", configured.error().c_str());
    return 2;
  }
  asio::co_spawn(context, ask_all(resolver, std::move(questions)), asio::detached);
  context.run();
  return 0;
}
