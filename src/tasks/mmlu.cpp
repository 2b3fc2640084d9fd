// MMLU: {question, subject, choices, answer}; 57 subjects, each with its own examples.
// @source lm-evaluation-harness 0.4.11, tasks/mmlu/default/_default_template_yaml, mmlu_*.yaml
#include <array>

#include <fmt/format.h>

#include "python_text.h"
#include "task_spec.h"

namespace ram {
namespace {

constexpr std::array kLetters = {"A", "B", "C", "D"};

TaskItem read_mmlu(const Document& document) {
  const std::string subject = document.text("subject");
  const std::vector<std::string> choices = document.texts("choices");
  if (choices.size() != kLetters.size()) {
    document.reject(fmt::format("{} choices: MMLU has 4", choices.size()));
  }
  TaskItem item{.id = document.text_or("id", std::to_string(document.index())),
                .group = subject,
                .description = "The following are multiple choice questions (with answers) about " +
                               python_replace(subject, "_", " ") + ".\n\n",
                .answer = document.integer("answer")};
  if (item.answer < 0 || item.answer >= std::ssize(kLetters)) {
    document.reject(fmt::format("answer {}: choices are 0 to 3", item.answer));
  }
  const std::string question = document.text("question");
  std::string text(python_strip(question));
  for (size_t i = 0; i < kLetters.size(); ++i) {
    text += fmt::format("\n{}. {}", kLetters.at(i), choices[i]);
    item.choices.emplace_back(kLetters.at(i));
    item.continuations.push_back(" " + item.choices.back());
  }
  item.contexts = {text + "\nAnswer:"};
  item.example =
      example_text(item.contexts.front(), item.choices[static_cast<size_t>(item.answer)]);
  return item;
}

}  // namespace

const TaskSpec kMmlu = {.info = {.name = "mmlu", .title = "MMLU", .metric = "acc", .examples = 5},
                        .draw = Draw::kFirst,
                        .asked = "mmlu_test",
                        .examples = "mmlu_dev",
                        .asked_data = "'cais/mmlu', 'all', split='test'",
                        .examples_data = "'cais/mmlu', 'all', split='dev'",
                        .read = read_mmlu};

}  // namespace ram
