#include "smtpd/outbound/dns_answers.hpp"

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

MxAnswer mx_answer(dns::Result<dns::MailExchanger> found) {
  MxAnswer answer;
  if (!found) {
    answer.lookup = lookup_of(found.error());
    answer.why = std::move(found.error().detail);
    return answer;
  }
  answer.lookup = Lookup::found;
  for (auto& record : found->records) answer.records.push_back({record.preference, std::move(record.host)});
  return answer;
}

AddressAnswer address_answer(std::span<const dns::Result<asio::ip::address>> found) {
  AddressAnswer answer;
  answer.lookup = Lookup::no_name;
  for (const auto& family : found) {
    if (family) {
      answer.lookup = Lookup::found;
      for (const auto& address : family->records) answer.addresses.push_back(address.to_string());
      continue;
    }
    // Of two that say nothing, the one with more hope counts: trouble, then a name without records.
    const auto lookup = lookup_of(family.error());
    if (answer.lookup == Lookup::found || lookup == Lookup::no_name) continue;
    if (answer.lookup == Lookup::no_name || lookup == Lookup::trouble) {
      answer.lookup = lookup;
      answer.why = family.error().detail;
    }
  }
  return answer;
}

}  // namespace smtpd::outbound
