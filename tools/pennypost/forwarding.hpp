#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <CLI/App.hpp>

#include "mailstore/store.hpp"

/// Options of `pennypost mailbox set` for mail that goes on to others, and for what a mailbox answers by itself.
namespace tools {

/// As given on the line.
struct ForwardOptions {
  std::vector<std::string> targets;
  bool none = false;
  bool keep_copy = false;
  bool no_copy = false;
  bool given() const { return !targets.empty() || none || keep_copy || no_copy; }
};

struct AutoReplyOptions {
  std::string file, subject, from, until;
  bool none = false;
  bool given() const { return none || !(file.empty() && subject.empty() && from.empty() && until.empty()); }
};

void add_forward_options(CLI::App* command, const std::shared_ptr<ForwardOptions>& options);
void add_auto_reply_options(CLI::App* command, const std::shared_ptr<AutoReplyOptions>& options);

/// What they change of `mailbox`; what stays is left out of `change`. Refuses (usage) what cannot be.
void apply(const ForwardOptions& options, const mailstore::Mailbox& mailbox, mailstore::MailboxChange& change);
/// Reads the text's file. `before`: what the mailbox has now.
void apply(const AutoReplyOptions& options, const std::optional<mailstore::AutoReply>& before,
           mailstore::MailboxChange& change);

/// "forwards to ..., and keeps a copy"; empty: it does not.
std::string describe_forward(const mailstore::Mailbox& mailbox);
std::string describe_auto_reply(const mailstore::AutoReply& reply);

}  // namespace tools
