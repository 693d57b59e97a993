#pragma once

#include "mailstore/core.hpp"

namespace mailstore {

/// Makes sound what an unclean stop left: segments that a dead process had open are synced, their unproven messages
/// checked, then they are sealed; files that no row names go. Segments of living processes are left alone. Throws
/// Failure: `unusable` with the remedy for a segment that is missing or shorter than what was once synced.
void recover(Core& core);

/// True when the message's record lies where its row says, whole: header, keyed checksum, body checksum.
bool record_is_sound(Core& core, MessageId id, const MessageRow& row);

}  // namespace mailstore
