#pragma once

#include <filesystem>
#include <vector>

#include "common/config/config.hpp"

/// Where programs of this machine hand in mail: what smtpd and pennypost-sendmail must see in the same way.
namespace common::config {

/// [local] socket; empty: off.
std::filesystem::path local_socket(const Suite& suite);
/// [local] spool; empty: off.
std::filesystem::path local_spool(const Suite& suite);
/// Whose settings hold for that mail, as for reports: the first server of kind smtp, by file name. Null: there is none.
const Server* local_server(const std::vector<Server>& servers);

}  // namespace common::config
