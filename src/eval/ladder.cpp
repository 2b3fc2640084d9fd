// Whether a benchmark tells the models of a ladder apart, and if not, why.
#include <algorithm>
#include <cmath>

#include "ram/error.h"
#include "ram/statistics.h"

namespace ram {
namespace {

// Finds the pair of the best and the worst step, and the pair told apart with the closest bits.
const LadderPair* look_at_pairs(LadderVerdict& verdict, std::span<const LadderStep> steps,
                                std::span<const LadderPair> pairs) {
  const LadderPair* widest = nullptr;
  const auto apart = [&](const LadderPair& pair) {
    return std::fabs(steps[static_cast<size_t>(pair.a)].bits -
                     steps[static_cast<size_t>(pair.b)].bits);
  };
  for (const LadderPair& pair : pairs) {
    if (std::minmax(pair.a, pair.b) == std::minmax(verdict.best, verdict.worst)) widest = &pair;
    if (pair.p_holm >= kLevel || pair.ci95.holds(0)) continue;
    if (!verdict.closest_told || apart(pair) < apart(*verdict.closest_told)) {
      verdict.closest_told = pair;
    }
  }
  return widest;
}

}  // namespace

Chance judge_chance(std::span<const LadderStep> steps) {
  RAM_CHECK(!steps.empty());
  const double level = kLevel / static_cast<double>(steps.size());
  Chance found = Chance::kAt;
  for (const LadderStep& step : steps) {
    if (share_interval(step.right, step.questions, level).low > step.chance) return Chance::kAbove;
    const double high = share_interval(step.right, step.questions).high;
    if (high > step.chance + kTellingDifference) found = Chance::kUnknown;
  }
  return found;
}

LadderVerdict judge_ladder(std::span<const LadderStep> steps, std::span<const LadderPair> pairs,
                           int64_t comparisons) {
  RAM_CHECK(steps.size() >= 2);
  LadderVerdict verdict;
  const auto [worst, best] = std::minmax_element(
      steps.begin(), steps.end(),
      [](const LadderStep& a, const LadderStep& b) { return a.accuracy() < b.accuracy(); });
  verdict.best = static_cast<int>(best - steps.begin());
  verdict.worst = static_cast<int>(worst - steps.begin());
  verdict.spread = best->accuracy() - worst->accuracy();
  verdict.chance = steps.front().chance;
  verdict.beside_chance = judge_chance(steps);
  const LadderPair* widest = look_at_pairs(verdict, steps, pairs);
  RAM_CHECK(widest != nullptr);
  verdict.detectable = widest->detectable;
  for (const LadderPair& pair : pairs) {
    verdict.most_apart =
        std::max({verdict.most_apart, std::fabs(pair.ci95.low), std::fabs(pair.ci95.high)});
  }
  const auto questions = static_cast<double>(widest->questions);
  const double flip_rate = static_cast<double>(widest->flipped) / questions;
  if (verdict.closest_told) {
    verdict.kind = LadderKind::kTells;
  } else if (verdict.most_apart <= kTellingDifference) {
    verdict.kind =
        verdict.beside_chance == Chance::kAt ? LadderKind::kAtChance : LadderKind::kSaturated;
  } else if (verdict.detectable > kTellingDifference) {
    verdict.kind = LadderKind::kUnderpowered;
    verdict.questions_needed = questions_to_detect(kTellingDifference, flip_rate, comparisons);
  } else {
    verdict.kind = LadderKind::kOpen;
  }
  return verdict;
}

}  // namespace ram
