// The files and folders that a command writes: one check of all of them before any work, and one
// function to write a file. Part of the module `command_line`.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "ram/arguments.h"
#include "ram/console.h"

namespace ram::cli {

/// Refuses outputs that would destroy something: the study or its journals, a file that the same
/// command reads, anything in a model's folder, a file that ram wrote with other contents, any
/// SQLite database; an output folder that contains the study or an input, or that is inside or
/// around the source. Files are compared by identity, not by name: symbolic links, hard links and,
/// if the file system ignores it, case make no difference.
///
/// @param paths all that the command reads and writes, as given; "-" is stdout.
/// @throws Error{kUsage}, with nothing changed; {kWriteFailed} an output cannot be written.
void check_outputs(const Common& common, std::span<const PathArgument> paths);

/// Writes a result. A file is replaced as a whole or remains unchanged, also behind a symbolic
/// link; a device or a FIFO is written to directly. "-" is stdout.
/// @throws Error{kWriteFailed} also: no process opens a FIFO for reading within 10 s.
void write_output(const Common& common, const std::string& path, const std::string& text);

/// @return the file that a name refers to, with links followed; it need not exist.
/// @throws Error{kUsage} a cycle of links.
std::filesystem::path output_target(const std::string& path);

}  // namespace ram::cli
