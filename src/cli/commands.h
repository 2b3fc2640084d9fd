// The subcommands, as one table. Adding one: a source with its setup function, a row in
// commands.cpp, a test.
#pragma once

#include <functional>
#include <span>

#include "arguments.h"
#include "common.h"

namespace ram::cli {

/// What a subcommand does once the command line is read. @return the exit status.
using Action = std::function<int()>;

struct Command {
  const char* name;
  const char* help;     ///< one line
  const char* example;  ///< one line that works as it stands
  /// Adds the subcommand's own options. The action refers to `common`, which outlives it.
  Action (*setup)(Arguments app, const Common& common);
};

/// In the order in which --help lists them.
std::span<const Command> commands();

Action setup_fit(Arguments app, const Common& common);
Action setup_inspect(Arguments app, const Common& common);
Action setup_analyze(Arguments app, const Common& common);
Action setup_plan(Arguments app, const Common& common);
Action setup_sweep(Arguments app, const Common& common);
Action setup_explain(Arguments app, const Common& common);
Action setup_quantize(Arguments app, const Common& common);
Action setup_verify(Arguments app, const Common& common);
Action setup_logits(Arguments app, const Common& common);
Action setup_tokenize(Arguments app, const Common& common);
Action setup_generate(Arguments app, const Common& common);
Action setup_perplexity(Arguments app, const Common& common);
Action setup_compare(Arguments app, const Common& common);
Action setup_tasks(Arguments app, const Common& common);
Action setup_gptq(Arguments app, const Common& common);
Action setup_noise(Arguments app, const Common& common);
Action setup_report(Arguments app, const Common& common);
Action setup_studies(Arguments app, const Common& common);
Action setup_demo(Arguments app, const Common& common);
Action setup_completion(Arguments app, const Common& common);

/// Reads the command line, runs the subcommand, reports what went wrong in one line on stderr.
/// @return the exit status. Throws nothing.
int run(int argc, const char* const* argv, Io io = {});

/// Statuses that are answers, beside the codes of errors.
inline constexpr int kDone = 0;
inline constexpr int kCheckFailed = 1;
inline constexpr int kBudgetTooSmall = 6;

}  // namespace ram::cli
