#include "smtpd/outbound/dns_names.hpp"

#include <array>
#include <utility>

#include "smtpd/outbound/dns_answers.hpp"

namespace smtpd::outbound {

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
  co_return mx_answer(std::move(found));
}

asio::awaitable<AddressAnswer> DnsNames::addresses(std::string host) {
  const auto place = co_await turn();
  if (stopping_) co_return AddressAnswer{Lookup::trouble, {}, "the daemon stops"};
  auto asking = resolver_.addresses(host, common::dns::Family::v6);
  auto six = co_await std::move(asking);
  asking = resolver_.addresses(host, common::dns::Family::v4);
  auto four = co_await std::move(asking);
  const std::array found{std::move(six), std::move(four)};
  co_return address_answer(found);
}

}  // namespace smtpd::outbound
