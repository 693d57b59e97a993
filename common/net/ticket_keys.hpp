#pragma once

struct ssl_ctx_st;

namespace common::net {

/// Lets `context` seal its session tickets with keys that the process makes at random and replaces every twelve hours
/// (the last one opens old tickets for as long again): who steals a key reads half a day and not all that was ever
/// recorded. All contexts share them, so clients resume across a reload. Any thread.
void use_ticket_keys(ssl_ctx_st* context);

}  // namespace common::net
