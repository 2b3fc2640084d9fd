// ram tasks: questions with choices, and verdicts on the answers.
#include "ram/tasks.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ram/error.h"
#include "ram/json_text.h"
#include "ram/outputs.h"
#include "ram/size.h"
#include "ram/study_place.h"
#include "ram/table.h"
#include "ram/tasks_json.h"
#include "ram/tasks_verdict.h"
#include "ram/text.h"

#include "commands.h"
#include "engine_options.h"
#include "evaluation.h"
#include "model.h"
#include "tasks.h"

namespace ram::cli {
namespace {

constexpr size_t kTaskLabelWidth = 24;

struct TasksArguments {
  std::vector<std::string> models;  // the reference first
  std::string tasks;
  std::string data;
  std::string limit;
  std::string precision;
  std::string prompts;  // file to write them to
};

std::vector<std::string> split_tasks(const std::string& text) {
  std::vector<std::string> names = split(text, ',');
  if (std::set<std::string>(names.begin(), names.end()).size() != names.size()) {
    fail(Code::kUsage, "--task {}: a task is named twice", text);
  }
  return names;
}

TaskOptions task_options(const Common& common, const TasksArguments& options) {
  TaskOptions result;
  result.seed = check_seed(common, "questions");
  if (!options.limit.empty()) result.limit = number_or_all("--limit", options.limit);
  return result;
}

double points(double share) {
  return 100 * share;
}

const TaskPair* against_reference(const TaskRun& run, size_t task, size_t model) {
  for (const TaskPair& pair : run.pairs) {
    if (pair.task == static_cast<int>(task) && pair.a == static_cast<int>(model) && pair.b == 0) {
      return &pair;
    }
  }
  return nullptr;
}

std::string task_heading(const TaskRun& run, size_t t) {
  const TaskData& task = run.tasks[t];
  std::string text = fmt::format(
      "{} ({}): {}{} questions", task.info.title, task.info.metric,
      std::ssize(task.questions) < task.total ? fmt::format("{} of ", task.questions.size()) : "",
      group_digits(task.total));
  if (task.info.examples > 0) {
    text += fmt::format(", {} examples from {}", task.info.examples, task.examples_from);
    if (task.examples_from_asked) {
      text += " (no training split there: other questions of the split that is asked)";
    }
  }
  return wrapped(text, kTextWidth, 2);
}

std::string accuracy_table(const TaskRun& run, size_t t, const std::vector<std::string>& labels) {
  Table table(
      {{"model", Align::kLeft}, {"size"}, {"bits"}, {"right"}, {"accuracy"}, {"95 % interval"}});
  for (size_t m = 0; m < run.models.size(); ++m) {
    const AskedModel& model = run.models[m];
    const AnswerSummary& summary = model.tasks[t].summary;
    table.add(
        {shorten(labels[m], kTaskLabelWidth), format_bytes(model.model.bytes),
         fmt::format("{:.2f}", model.model.bits_per_weight), group_digits(summary.right),
         fmt::format("{:.1f} %", points(summary.accuracy)),
         fmt::format("{:.1f} to {:.1f} %", points(summary.ci95.low), points(summary.ci95.high))});
  }
  return table.render(kTextWidth);
}

std::string differences_table(const TaskRun& run, size_t t,
                              const std::vector<std::string>& labels) {
  Table table({{"against " + shorten(labels.front(), kTaskLabelWidth - 8), Align::kLeft},
               {"points"},
               {"95 % interval"},
               {"gained"},
               {"lost"},
               {"p"},
               {"detectable"}});
  bool any = false;
  for (size_t m = 1; m < run.models.size(); ++m) {
    const TaskPair* pair = against_reference(run, t, m);
    if (pair == nullptr) continue;
    any = true;
    table.add(
        {shorten(labels[m], kTaskLabelWidth), fmt::format("{:+.2f}", points(pair->difference)),
         fmt::format("{:+.2f} to {:+.2f}", points(pair->ci95.low), points(pair->ci95.high)),
         group_digits(pair->flips.gained), group_digits(pair->flips.lost),
         fmt::format("{:.2g}", pair->p_holm), fmt::format("{:.2f}", points(pair->detectable))});
  }
  if (!any) return "";
  std::string text = "\n";
  return text += table.render(kTextWidth);
}

std::string verdict_lines(const TaskRun& run, size_t t, const std::vector<std::string>& labels) {
  const std::string text = task_verdict(run, t, labels);
  return text.empty() ? "" : wrapped(text, kTextWidth, 2);
}

std::string cost_text(const TaskRun& run, size_t t) {
  int64_t asked = 0;
  int64_t naive = 0;
  int64_t tokens = 0;
  int64_t cut = 0;
  double seconds = 0;
  for (const AskedModel& model : run.models) {
    const TaskOutcome& outcome = model.tasks[t];
    asked += outcome.asked;
    naive += outcome.naive_tokens;
    tokens += outcome.tokens;
    seconds += outcome.seconds;
    cut = std::max(cut, outcome.summary.cut_questions);
  }
  std::string text;
  if (cut > 0) {
    text += wrapped(
        fmt::format(
            "{} questions were longer than a model's context and were truncated on the left",
            group_digits(cut)),
        kTextWidth, 2);
  }
  if (asked == 0) return text + "all answers were in the study\n";
  return text +
         wrapped(fmt::format(
                     "{} answers at {:.1f} a second; {} tokens, {:.1f} times fewer than "
                     "the {} of each choice alone",
                     group_digits(asked), static_cast<double>(asked) / std::max(seconds, 1e-9),
                     group_digits(tokens), static_cast<double>(naive) / static_cast<double>(tokens),
                     group_digits(naive)),
                 kTextWidth, 2);
}

}  // namespace

std::string task_text(const TaskRun& run, size_t task, const std::vector<std::string>& labels) {
  return task_heading(run, task) + accuracy_table(run, task, labels) +
         differences_table(run, task, labels) + verdict_lines(run, task, labels) +
         cost_text(run, task);
}

namespace {

std::string run_text(const TaskRun& run, const std::vector<std::string>& labels) {
  std::string text;
  for (size_t t = 0; t < run.tasks.size(); ++t) {
    if (t > 0) text += "\n";
    text += task_text(run, t, labels);
  }
  if (!run.pairs.empty()) {
    text += "\n";
    const bool subjects = std::any_of(run.pairs.begin(), run.pairs.end(),
                                      [](const TaskPair& pair) { return pair.subjects > 1; });
    text += wrapped(
        fmt::format("Differences in points; p is from McNemar's exact test{}, corrected by Holm's "
                    "method for {} comparison{}. \"detectable\" is the smallest difference that "
                    "this corrected test finds in 4 of 5 trials, with as many flipped answers.",
                    subjects ? ", and at least that of Student's test over subjects" : "",
                    run.pairs.size(), run.pairs.size() == 1 ? "" : "s"),
        kTextWidth, 0);
  }
  return text;
}

int tasks_command(const Common& common, const TasksArguments& options) {
  TaskOptions wanted = task_options(common, options);
  EngineOptions engine = engine_options(common, options.precision);
  // The questions may use a quarter of the memory; the model gets the rest.
  constexpr int64_t kDataPart = 4;
  const int64_t for_data = std::max<int64_t>(1, engine.memory_bytes / kDataPart);
  int64_t held = 0;
  std::vector<TaskData> tasks;
  for (const std::string& name : split_tasks(options.tasks)) {
    wanted.memory_bytes = std::max<int64_t>(1, for_data - held);
    tasks.push_back(load_task(name, options.data, wanted));
    held += tasks.back().bytes;
  }
  engine.memory_bytes -= held;
  if (!options.prompts.empty()) {
    write_output(common, options.prompts, prompt_lines(tasks));
  }
  Study study =
      open_study(common, fmt::format("tasks --task {}{}", options.tasks,
                                     options.limit.empty() ? "" : " --limit " + options.limit));
  TaskRun run;
  {
    ProgressLine line(common);
    run = run_tasks(options.models, std::move(tasks), common.seed, engine, study, line.function());
  }
  std::vector<std::string> names;
  names.reserve(run.models.size());
  for (const AskedModel& model : run.models) names.push_back(model.model.name);
  const std::vector<std::string> labels = labels_of(std::move(names), options.models);
  print_result(common, common.json ? json_text(tasks_json(run, labels)) : run_text(run, labels));
  return kDone;
}

}  // namespace

Action setup_tasks(Arguments app, const Common& common) {
  auto options = std::make_shared<TasksArguments>();
  app.add_option("MODELS", options->models, "the reference, then the models to compare with it")
      .type_name("REFERENCE [MODEL...]")
      .expected(1, 1000)
      .required();
  std::vector<std::string> names;
  for (const TaskInfo& task : known_tasks()) names.emplace_back(task.name);
  app.add_option("--task", options->tasks,
                 "one or several, separated by commas (choice: your own questions)")
      .type_name(fmt::format("{}", fmt::join(names, "|")))
      .words(names, /*list=*/true)
      .required();
  app.add_option("--data", options->data,
                 "folder with <task>_<split>.jsonl or .jsonl.gz; for choice: the file")
      .type_name("FOLDER")
      .takes(Takes::kFile)
      .required();
  app.add_option("--limit", options->limit,
                 "how many questions of each task, drawn with --seed (default all)")
      .type_name("N|all");
  app.add_option("--prompts", options->prompts, "file for the prompts of the models, as JSON lines")
      .type_name("FILE")
      .writes(Content::kPrompts);
  add_precision_option(app, options->precision);
  return [options, &common] { return tasks_command(common, *options); };
}

}  // namespace ram::cli
