// Shared by the commands that score models on a text.
#pragma once

#include <string>
#include <vector>

#include "ram/arguments.h"
#include "ram/console.h"
#include "ram/eval.h"
#include "ram/experiments.h"

namespace ram::cli {

/// The text and its division into rows, as typed.
struct TextArguments {
  std::string text;
  std::string rows = "all";
  std::string bos = "start";
  std::string format;
  int64_t length = 2048;
};

void add_text_options(Arguments app, TextArguments& arguments, bool required = true);

/// @throws Error{kUsage} also: the text is too large for --memory.
RowOptions row_options(const Common& common, const TextArguments& arguments);

/// @return the number, or nothing for "all". @throws Error{kUsage} naming the option.
std::optional<int64_t> number_or_all(const char* option, const std::string& text);

/// @param what things drawn with it, for the message. @return --seed. @throws Error{kUsage} it
///             exceeds 32 bits.
uint32_t check_seed(const Common& common, const char* what);

/// @return labels of models, in text and JSON: their names, or as typed if two models share a name.
std::vector<std::string> labels_of(std::vector<std::string> names,
                                   const std::vector<std::string>& typed);

/// @return the text and resources with which an experiment scores its folders. @throws
///         Error{kUsage}
ScoringRequest scoring_request(const Common& common, const TextArguments& arguments,
                               const RowOptions& rows);

/// Reports on stderr the detected format of the text, and rows that are longer than the model was
/// made for.
void note_text(const Common& common, const TextRows& text, const Perplexity& perplexity);

/// @return "demo on heldout.txt: 32 of 129 rows of 512 tokens, ...".
std::string text_line(const TextArguments& arguments, const TextRows& text);

/// @return a table with this title: rows with their perplexity and the beginning of their text.
std::string worst_table(std::span<const WorstRow> rows, const std::string& title);

/// @return a number with four significant digits, "12.34", "0.001234", "25310".
std::string four_digits(double value);

}  // namespace ram::cli
