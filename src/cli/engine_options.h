// The resources that --threads and --memory allow; shared by the commands that run a model.
#pragma once

#include <string>

#include "ram/arguments.h"
#include "ram/console.h"
#include "ram/engine.h"

namespace ram::cli {

/// @return the threads to use: --threads or all processors, fewer if --memory requires it.
/// @throws Error{kUsage} --memory below what one thread needs, or given in percent.
int threads(const Common& common);

/// Adds --precision f32|bf16, kept in `precision`.
void add_precision_option(Arguments app, std::string& precision);

/// @return the options of an engine that may use --memory (by default half of the machine's
///         memory).
/// @throws Error{kUsage} an unknown precision; --memory in percent.
EngineOptions engine_options(const Common& common, const std::string& precision);

/// Refuses a text that must be in memory and takes more than a quarter of it.
/// @param option the option that names the file. @throws Error{kUsage}
void check_text_size(const Common& common, const std::string& option, const std::string& file);

/// Opens a source folder or an MLX folder.
LanguageModel open_language_model(const std::string& model, const EngineOptions& options);

}  // namespace ram::cli
