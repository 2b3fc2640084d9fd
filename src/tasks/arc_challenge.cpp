// ARC-Challenge: {id, question, choices: {text, label}, answerKey}.
// @source lm-evaluation-harness 0.4.11, tasks/arc/arc_easy.yaml, arc_challenge.yaml
#include <algorithm>

#include "task_spec.h"

namespace ram {
namespace {

TaskItem read_arc_challenge(const Document& document) {
  const Document choices = document.inner("choices");
  const std::vector<std::string> labels = choices.texts("label");
  TaskItem item{.id = document.text_or("id", std::to_string(document.index())),
                .contexts = {"Question: " + document.text("question") + "\nAnswer:"},
                .choices = choices.texts("text")};
  if (labels.size() != item.choices.size()) document.reject("choices and labels differ in number");
  const std::string key = document.text_or("answerKey", "");
  const auto found = std::find(labels.begin(), labels.end(), key);
  if (found == labels.end())
    document.reject("answerKey '" + key + "' is not the label of a choice");
  item.answer = found - labels.begin();
  for (const std::string& choice : item.choices) item.continuations.push_back(" " + choice);
  item.example =
      example_text(item.contexts.front(), item.choices[static_cast<size_t>(item.answer)]);
  return item;
}

}  // namespace

const TaskSpec kArcChallenge = {
    .info = {.name = "arc_challenge",
             .title = "ARC-Challenge",
             .metric = "acc_norm",
             .examples = 25},
    .draw = Draw::kRandom,
    .asked = "arc_challenge_test",
    .examples = "arc_challenge_train",
    .asked_data = "'allenai/ai2_arc', 'ARC-Challenge', split='test'",
    .examples_data = "'allenai/ai2_arc', 'ARC-Challenge', split='train'",
    .read = read_arc_challenge};

}  // namespace ram
