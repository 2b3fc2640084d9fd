// Winogrande: {sentence, option1, option2, answer}. Partial evaluation: each option replaces the
// blank, and the likelihood of the rest of the sentence is compared.
// @source lm-evaluation-harness 0.4.11, tasks/winogrande/default.yaml, preprocess_winogrande.py
#include "python_text.h"
#include "task_spec.h"

namespace ram {
namespace {

TaskItem read_winogrande(const Document& document) {
  const std::string sentence = document.text("sentence");
  const size_t blank = sentence.find('_');
  if (blank == std::string::npos) document.reject("the sentence has no blank '_'");
  const std::string answer = document.text_or("answer", "");
  if (answer != "1" && answer != "2") {
    document.reject("answer '" + answer + "': use 1 or 2 (the validation split has answers)");
  }
  TaskItem item{.id = document.text_or("qID", std::to_string(document.index())),
                .choices = {sentence.substr(0, blank) + document.text("option1"),
                            sentence.substr(0, blank) + document.text("option2")},
                .answer = answer == "1" ? 0 : 1};
  const std::string rest(python_strip(std::string_view(sentence).substr(blank + 1)));
  item.contexts = item.choices;
  item.continuations.assign(2, " " + rest);
  item.example = example_text(item.contexts[static_cast<size_t>(item.answer)], rest);
  return item;
}

}  // namespace

const TaskSpec kWinogrande = {
    .info = {.name = "winogrande", .title = "Winogrande", .metric = "acc", .examples = 5},
    .draw = Draw::kRandomAndMore,
    .asked = "winogrande_validation",
    .examples = "winogrande_train",
    .asked_data = "'allenai/winogrande', 'winogrande_xl', split='validation'",
    .examples_data = "'allenai/winogrande', 'winogrande_xl', split='train'",
    .read = read_winogrande};

}  // namespace ram
