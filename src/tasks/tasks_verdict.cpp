// Verdicts on the answers to a task, in words.
#include "ram/tasks_verdict.h"

#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "ram/answers.h"
#include "ram/size.h"

namespace ram {
namespace {

double points(double share) {
  return 100 * share;
}

std::string bits_range(const TaskRun& run) {
  double low = std::numeric_limits<double>::max();
  double high = 0;
  for (const AskedModel& model : run.models) {
    low = std::min(low, model.model.bits_per_weight);
    high = std::max(high, model.model.bits_per_weight);
  }
  return fmt::format("{:.2f} to {:.2f} bits", low, high);
}

std::string told_text(const TaskRun& run, const LadderPair& pair,
                      const std::vector<std::string>& labels) {
  const auto bits = [&](int which) {
    return run.models[static_cast<size_t>(which)].model.bits_per_weight;
  };
  const auto named = [&](int which) {
    return fmt::format("{} ({:.2f} bits)", labels[static_cast<size_t>(which)], bits(which));
  };
  const auto [low, high] =
      std::minmax(pair.a, pair.b, [&](int x, int y) { return bits(x) < bits(y); });
  return fmt::format("still tells {} from {}", named(low), named(high));
}

}  // namespace

// For a single model, only whether it answers better than by guessing.
std::string task_verdict(const TaskRun& run, size_t task, const std::vector<std::string>& labels) {
  const AnswerSummary& first = run.models.front().tasks[task].summary;
  if (!run.verdicts[task]) {
    const LadderStep step = {
        .right = first.right, .questions = first.questions, .chance = first.chance};
    return chance_text(judge_chance({&step, 1}), first.chance, first.questions);
  }
  const LadderVerdict& verdict = *run.verdicts[task];
  const std::string alike = fmt::format("all models are alike within {:.3g} points, from {}",
                                        points(kTellingDifference), bits_range(run));
  std::string guessing = chance_text(verdict.beside_chance, verdict.chance, first.questions);
  if (!guessing.empty()) guessing += "; ";
  switch (verdict.kind) {
    case LadderKind::kTells:
      return guessing + told_text(run, *verdict.closest_told, labels);
    case LadderKind::kSaturated:
      return guessing + "saturated: " + alike;
    case LadderKind::kAtChance:
      return guessing + alike;
    case LadderKind::kUnderpowered: {
      std::string text = guessing + "underpowered: ";
      text += verdict.detectable >= 1
                  ? fmt::format("too few questions ({}) to show a difference", first.questions)
                  : fmt::format("differences below {:.2f} points are unlikely to be found",
                                points(verdict.detectable));
      if (verdict.questions_needed) {
        text += fmt::format("; {} questions would show {:.3g} points",
                            group_digits(*verdict.questions_needed), points(kTellingDifference));
      }
      return text;
    }
    case LadderKind::kOpen:
      return guessing + fmt::format(
                            "not told apart: they spread {:.2f} points, and differences of up to "
                            "{:.2f} are not "
                            "excluded",
                            points(verdict.spread), points(verdict.most_apart));
  }
  return "";
}

}  // namespace ram
