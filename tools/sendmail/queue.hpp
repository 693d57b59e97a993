#pragma once

#include <string>

#include "tools/sendmail/status.hpp"

/// -bp and -q: the store is its owner's, so the tool does what it does for everybody else.
namespace tools::sendmail {

/// `pennypost queue list` in the form that mailq has had since Sendmail.
Status show_queue(const std::string& config);
/// `pennypost queue flush`.
Status flush_queue(const std::string& config, const std::string& domain);

}  // namespace tools::sendmail
