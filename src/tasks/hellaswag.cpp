// HellaSwag: {ctx_a, ctx_b, activity_label, endings, label}.
// @source lm-evaluation-harness 0.4.11, tasks/hellaswag/hellaswag.yaml, utils.py
#include <fmt/format.h>

#include "python_text.h"
#include "task_spec.h"

namespace ram {
namespace {

// Removes the markup of WikiHow's articles.
std::string clean(std::string_view text) {
  const std::string titled = python_replace(python_strip(text), " [title]", ". ");
  return python_replace(without_brackets(titled), "  ", " ");
}

TaskItem read_hellaswag(const Document& document) {
  const std::string context =
      document.text("ctx_a") + " " + python_capitalize(document.text("ctx_b"));
  TaskItem item{.id = document.text_or("ind", std::to_string(document.index())),
                .contexts = {clean(document.text("activity_label") + ": " + context)},
                .answer = document.integer("label")};
  for (const std::string& ending : document.texts("endings")) {
    item.choices.push_back(clean(ending));
    item.continuations.push_back(" " + item.choices.back());
  }
  if (item.answer < 0 || item.answer >= std::ssize(item.choices)) {
    document.reject(
        fmt::format("label {}: there are {} endings", item.answer, item.choices.size()));
  }
  item.example =
      example_text(item.contexts.front(), item.choices[static_cast<size_t>(item.answer)]);
  return item;
}

}  // namespace

const TaskSpec kHellaswag = {
    .info = {.name = "hellaswag", .title = "HellaSwag", .metric = "acc_norm", .examples = 10},
    .draw = Draw::kRandomAndMore,
    .asked = "hellaswag_validation",
    .examples = "hellaswag_train",
    .asked_data = "'Rowan/hellaswag', split='validation'",
    .examples_data = "'Rowan/hellaswag', split='train'",
    .read = read_hellaswag};

}  // namespace ram
