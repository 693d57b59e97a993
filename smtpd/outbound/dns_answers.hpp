#pragma once

#include <span>
#include <utility>

#include "common/dns/record.hpp"

#include "smtpd/outbound/exchangers.hpp"

/// The resolver's answers in delivery's words. No I/O.
namespace smtpd::outbound {

MxAnswer mx_answer(common::dns::Result<common::dns::MailExchanger> found);
/// `found`: what was said of AAAA and of A.
AddressAnswer address_answer(std::span<const common::dns::Result<asio::ip::address>> found);

}  // namespace smtpd::outbound
