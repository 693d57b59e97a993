#pragma once

#include "mailstore/queue.hpp"

#include "smtpd/report/report.hpp"

namespace smtpd::outbound {

/// What a report says of a recipient whose last attempt was this one.
report::Recipient about(const mailstore::QueuedRecipient& recipient, const mailstore::Envelope& envelope,
                        const mailstore::Attempt& attempt, report::Action action);

}  // namespace smtpd::outbound
