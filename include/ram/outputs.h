// The files and folders that a command writes: one check of them all before anything is done, and
// one way to write a file. Part of the module `command_line`.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "ram/arguments.h"
#include "ram/console.h"

namespace ram::cli {

/// Refuses outputs whose writing would destroy something: the study or its journals, a file that
/// the same command reads, whatever lies in a model's folder, a file that ram wrote for something
/// else, any SQLite database; an output folder with the study or an input in it, inside the source
/// or around it. A file is known by what it is, not by its name: links, hard links and, where the
/// file system ignores it, case make no difference.
///
/// @param paths all that the command reads and writes, as given; "-" is stdout.
/// @throws Error{kUsage}, nothing being touched; {kWriteFailed} an output cannot be written.
void check_outputs(const Common& common, std::span<const PathArgument> paths);

/// Writes a result. A file is replaced whole or stays as it was, behind a symbolic link too; what
/// is no regular file (a device, a FIFO) is written to as it is. "-" is stdout.
/// @throws Error{kWriteFailed} also: nobody opens a FIFO for reading within 10 s.
void write_output(const Common& common, const std::string& path, const std::string& text);

/// @return the file that a name leads to, links followed, also where it does not exist yet.
/// @throws Error{kUsage} links in a circle.
std::filesystem::path output_target(const std::string& path);

}  // namespace ram::cli
