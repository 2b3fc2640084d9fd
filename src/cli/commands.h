// The subcommands, as one table. Adding one: a source with its setup function, a row in
// commands.cpp, a test.
#pragma once

#include <functional>
#include <span>

#include <CLI/CLI.hpp>

#include "common.h"

namespace ram::cli {

/// What a subcommand does once the command line is read. @return the exit status.
using Action = std::function<int()>;

struct Command {
  const char* name;
  const char* help;     ///< one line
  const char* example;  ///< one line that works as it stands
  /// Adds the subcommand's own options. The action refers to `common`, which outlives it.
  Action (*setup)(CLI::App& app, const Common& common);
};

/// In the order in which --help lists them.
std::span<const Command> commands();

Action setup_fit(CLI::App& app, const Common& common);
Action setup_inspect(CLI::App& app, const Common& common);
Action setup_analyze(CLI::App& app, const Common& common);
Action setup_plan(CLI::App& app, const Common& common);
Action setup_sweep(CLI::App& app, const Common& common);
Action setup_explain(CLI::App& app, const Common& common);
Action setup_quantize(CLI::App& app, const Common& common);
Action setup_verify(CLI::App& app, const Common& common);
Action setup_logits(CLI::App& app, const Common& common);
Action setup_tokenize(CLI::App& app, const Common& common);
Action setup_generate(CLI::App& app, const Common& common);
Action setup_perplexity(CLI::App& app, const Common& common);
Action setup_compare(CLI::App& app, const Common& common);
Action setup_tasks(CLI::App& app, const Common& common);
Action setup_gptq(CLI::App& app, const Common& common);
Action setup_noise(CLI::App& app, const Common& common);
Action setup_report(CLI::App& app, const Common& common);
Action setup_demo(CLI::App& app, const Common& common);
Action setup_completion(CLI::App& app, const Common& common);

/// Reads the command line, runs the subcommand, reports what went wrong in one line on stderr.
/// @return the exit status. Throws nothing.
int run(int argc, const char* const* argv, Io io = {});

/// Statuses that are answers, beside the codes of errors.
inline constexpr int kDone = 0;
inline constexpr int kCheckFailed = 1;
inline constexpr int kBudgetTooSmall = 6;

}  // namespace ram::cli
