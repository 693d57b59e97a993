#include "smtpd/outbound/dns_names.hpp"

#include <utility>

namespace smtpd::outbound {
namespace {

namespace dns = common::dns;

Lookup lookup_of(const dns::Error& error) {
  switch (error.code) {
    case dns::Errc::no_name:
      return Lookup::no_name;
    case dns::Errc::no_data:
    case dns::Errc::malformed:
      return Lookup::empty;
    case dns::Errc::bogus:
    case dns::Errc::temporary:
    case dns::Errc::timeout:
    case dns::Errc::cancelled:
      break;
  }
  return Lookup::trouble;
}

}  // namespace

DnsNames::Place::~Place() {
  if (names_ == nullptr) return;
  --names_->asking_;
  names_->turns_.call("", 1);
}

asio::awaitable<DnsNames::Place> DnsNames::turn() {
  for (auto place = Turns::Place::tail; asking_ >= most_asking && !stopping_; place = Turns::Place::head) {
    auto waiting = turns_.wait("", place);
    co_await std::move(waiting);
  }
  ++asking_;
  co_return Place{*this};
}

void DnsNames::stop() {
  stopping_ = true;
  turns_.call_all();
}

asio::awaitable<MxAnswer> DnsNames::exchangers(std::string domain) {
  const auto place = co_await turn();
  if (stopping_) co_return MxAnswer{Lookup::trouble, {}, "the daemon stops"};
  auto asking = resolver_.exchangers(std::move(domain));
  auto found = co_await std::move(asking);
  MxAnswer answer;
  if (!found) {
    answer.lookup = lookup_of(found.error());
    answer.why = std::move(found.error().detail);
    co_return answer;
  }
  answer.lookup = Lookup::found;
  for (auto& record : found->records) answer.records.push_back({record.preference, std::move(record.host)});
  co_return answer;
}

asio::awaitable<AddressAnswer> DnsNames::addresses(std::string host) {
  AddressAnswer answer;
  const auto place = co_await turn();
  if (stopping_) {
    answer.lookup = Lookup::trouble;
    answer.why = "the daemon stops";
    co_return answer;
  }
  answer.lookup = Lookup::no_name;
  for (const auto family : {dns::Family::v6, dns::Family::v4}) {
    auto asking = resolver_.addresses(host, family);
    const auto found = co_await std::move(asking);
    if (found) {
      answer.lookup = Lookup::found;
      for (const auto& address : found->records) answer.addresses.push_back(address.to_string());
      continue;
    }
    // Of two that say nothing, the one with more hope counts: trouble, then a name without records.
    const auto lookup = lookup_of(found.error());
    if (answer.lookup == Lookup::found || lookup == Lookup::no_name) continue;
    if (answer.lookup == Lookup::no_name || lookup == Lookup::trouble) {
      answer.lookup = lookup;
      answer.why = found.error().detail;
    }
  }
  co_return answer;
}

}  // namespace smtpd::outbound
