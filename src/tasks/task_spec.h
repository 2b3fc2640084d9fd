// The parts of a task: one file each, and a row in table.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ram/json.h"
#include "ram/tasks.h"

#include "documents.h"

namespace ram {

/// A document as a question, and as an example for others.
struct TaskItem {
  std::string id = {};
  std::string group = {};
  std::string description = {};  ///< placed before the examples
  std::vector<std::string> contexts = {};
  std::vector<std::string> continuations = {};
  std::vector<std::string> choices = {};
  int64_t answer = 0;
  std::string example = {};  ///< the question with its answer
};

/// How examples are chosen.
enum class Draw : uint8_t {
  kNone,
  kRandom,         ///< as many as needed
  kRandomAndMore,  ///< one more, with the question itself dropped, for any split
  kFirst,          ///< the first of the question's group
};

struct TaskSpec {
  TaskInfo info;
  Draw draw = Draw::kNone;
  const char* asked = nullptr;          ///< file of the questions, without .jsonl
  const char* examples = nullptr;       ///< file of the examples
  const char* asked_data = nullptr;     ///< arguments of datasets.load_dataset for the questions
  const char* examples_data = nullptr;  ///< and for the examples
  /// @throws Error{kCorrupt} a field that is missing or wrong.
  TaskItem (*read)(const Document& document) = nullptr;
};

extern const TaskSpec kArcChallenge;
extern const TaskSpec kWinogrande;
extern const TaskSpec kHellaswag;
extern const TaskSpec kMmlu;
extern const TaskSpec kChoice;

/// @return an example in the harness's form: text and answer, and an empty line; only the text if
/// there is no answer.
std::string example_text(const std::string& text, const std::string& answer);

}  // namespace ram
