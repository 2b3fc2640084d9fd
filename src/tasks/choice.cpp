// The user's own questions: {question, choices, answer}, answer counted from 0; "id" and "subject"
// are optional. The question itself is the prompt, without examples; a space separates it from a
// choice if neither has white space there.
#include <set>

#include <fmt/format.h>

#include "python_text.h"
#include "task_spec.h"

namespace ram {
namespace {

bool begins_with_space(const std::string& text) {
  return python_lstrip(text).size() != text.size();
}

TaskItem read_choice(const Document& document) {
  TaskItem item{.id = document.text_or("id", std::to_string(document.index())),
                .group = document.text_or("subject", ""),
                .contexts = {document.text("question")},
                .choices = document.texts("choices"),
                .answer = document.integer("answer")};
  const std::string& question = item.contexts.front();
  if (python_strip(question).empty()) document.reject("the question is empty");
  if (item.choices.size() < 2) {
    document.reject(fmt::format("{} choices: a question has two or more", item.choices.size()));
  }
  if (item.answer < 0 || item.answer >= std::ssize(item.choices)) {
    document.reject(
        fmt::format("answer {}: choices are 0 to {}", item.answer, item.choices.size() - 1));
  }
  if (std::set<std::string>(item.choices.begin(), item.choices.end()).size() !=
      item.choices.size()) {
    document.reject("two choices are the same");
  }
  const bool open = python_rstrip(question).size() != question.size();
  for (const std::string& choice : item.choices) {
    if (choice.empty()) document.reject("a choice is empty");
    item.continuations.push_back((open || begins_with_space(choice) ? "" : " ") + choice);
  }
  return item;
}

}  // namespace

const TaskSpec kChoice = {.info = {.name = "choice",
                                   .title = "own questions",
                                   .metric = "acc",
                                   .examples = 0,
                                   .own_file = true},
                          .draw = Draw::kNone,
                          .read = read_choice};

}  // namespace ram
