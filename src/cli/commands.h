// The subcommands, as one table. To add one: a source with its setup function, a row in
// commands.cpp, a test.
#pragma once

#include "ram/command_line.h"

namespace ram::cli {

/// The program: its commands, exit statuses, and environment variables.
const Program& program();

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

}  // namespace ram::cli
