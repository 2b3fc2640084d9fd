// Results of tasks, as a JSON document.
#include "ram/tasks_json.h"

namespace ram {

using Json = nlohmann::ordered_json;

namespace {

Json outcome_json(const TaskData& task, const TaskOutcome& outcome) {
  Json results = Json::array();
  for (size_t i = 0; i < outcome.answers.size(); ++i) {
    const TaskAnswer& answer = outcome.answers[i];
    results.push_back({{"id", task.questions[i].id},
                       {"index", answer.question},
                       {"correct", answer.choice == answer.answer},
                       {"choice", answer.choice},
                       {"answer", answer.answer},
                       {"log_likelihoods", answer.log_likelihoods}});
  }
  Json groups = Json::array();
  for (const auto& [name, counts] : outcome.summary.groups) {
    groups.push_back(
        {{"name", name},
         {"questions", counts.second},
         {"accuracy", static_cast<double>(counts.first) / static_cast<double>(counts.second)}});
  }
  return {{"name", task.info.name},
          {"metric", task.info.metric},
          {"questions", outcome.answers.size()},
          {"accuracy", outcome.summary.accuracy},
          {"se", outcome.summary.error},
          {"ci95", Json::array({outcome.summary.ci95.low, outcome.summary.ci95.high})},
          {"chance", outcome.summary.chance},
          {"subjects", std::move(groups)},
          {"cut_questions", outcome.summary.cut_questions},
          {"asked", outcome.asked},
          {"naive_tokens", outcome.naive_tokens},
          {"tokens", outcome.tokens},
          {"seconds", outcome.seconds},
          {"results", std::move(results)}};
}

std::string_view kind_name(LadderKind kind) {
  switch (kind) {
    case LadderKind::kTells:
      return "tells";
    case LadderKind::kSaturated:
      return "saturated";
    case LadderKind::kAtChance:
      return "at chance";
    case LadderKind::kUnderpowered:
      return "underpowered";
    case LadderKind::kOpen:
      return "not told apart";
  }
  return "";
}

Json verdict_json(const TaskRun& run, size_t task, const std::vector<std::string>& labels) {
  const LadderVerdict& verdict = *run.verdicts[task];
  const auto label = [&](int which) { return labels.at(static_cast<size_t>(which)); };
  Json told = nullptr;
  if (verdict.closest_told) {
    told = Json::array({label(verdict.closest_told->a), label(verdict.closest_told->b)});
  }
  return {{"task", run.tasks[task].info.name},
          {"verdict", kind_name(verdict.kind)},
          {"saturated", verdict.kind == LadderKind::kSaturated},
          {"at_chance", is_at_most(verdict.beside_chance)},
          {"above_chance", verdict.beside_chance == Chance::kAbove},
          {"chance", verdict.chance},
          {"spread", verdict.spread},
          {"best", label(verdict.best)},
          {"worst", label(verdict.worst)},
          {"detectable", verdict.detectable},
          {"most_apart", verdict.most_apart},
          {"questions_needed",
           verdict.questions_needed ? Json(*verdict.questions_needed) : Json(nullptr)},
          {"closest_told", std::move(told)}};
}

}  // namespace

Json tasks_json(const TaskRun& run, const std::vector<std::string>& labels) {
  Json tasks = Json::array();
  for (const TaskData& task : run.tasks) {
    tasks.push_back(
        {{"name", task.info.name},
         {"metric", task.info.metric},
         {"examples", task.info.examples},
         {"examples_from", task.examples_from.empty() ? Json(nullptr) : Json(task.examples_from)},
         {"examples_from_asked", task.examples_from_asked},
         {"data", task.digest},
         {"questions_total", task.total},
         {"questions", task.questions.size()}});
  }
  Json models = Json::array();
  for (size_t m = 0; m < run.models.size(); ++m) {
    const AskedModel& model = run.models[m];
    Json outcomes = Json::array();
    for (size_t t = 0; t < run.tasks.size(); ++t) {
      outcomes.push_back(outcome_json(run.tasks[t], model.tasks[t]));
    }
    models.push_back({{"name", labels[m]},
                      {"folder", model.model.folder},
                      {"digest", model.model.digest},
                      {"bytes", model.model.bytes},
                      {"bits_per_weight", model.model.bits_per_weight},
                      {"tasks", std::move(outcomes)}});
  }
  Json pairs = Json::array();
  for (const TaskPair& pair : run.pairs) {
    pairs.push_back({{"task", run.tasks[static_cast<size_t>(pair.task)].info.name},
                     {"a", labels[static_cast<size_t>(pair.a)]},
                     {"b", labels[static_cast<size_t>(pair.b)]},
                     {"difference", pair.difference},
                     {"ci95", Json::array({pair.ci95.low, pair.ci95.high})},
                     {"gained", pair.flips.gained},
                     {"lost", pair.flips.lost},
                     {"mcnemar_p", pair.mcnemar_p},
                     {"p_holm", pair.p_holm},
                     {"detectable", pair.detectable}});
  }
  Json verdicts = Json::array();
  for (size_t t = 0; t < run.tasks.size(); ++t) {
    if (run.verdicts[t]) verdicts.push_back(verdict_json(run, t, labels));
  }
  return {{"tasks", std::move(tasks)},
          {"models", std::move(models)},
          {"pairs", std::move(pairs)},
          {"comparisons", run.pairs.size()},
          {"verdicts", std::move(verdicts)}};
}

std::string prompt_lines(const std::vector<TaskData>& tasks) {
  std::string text;
  for (const TaskData& task : tasks) {
    for (const TaskQuestion& question : task.questions) {
      std::vector<std::string> contexts;
      contexts.reserve(question.contexts.size());
      for (const std::string& own : question.contexts) contexts.push_back(question.shared + own);
      text += Json{{"task", task.info.name},
                   {"index", question.index},
                   {"id", question.id},
                   {"contexts", contexts},
                   {"continuations", question.continuations},
                   {"answer", question.answer}}
                  .dump() +
              "\n";
    }
  }
  return text;
}

}  // namespace ram
