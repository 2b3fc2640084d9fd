// Whether a benchmark distinguishes the models of a ladder, and if not, why.
#include <algorithm>
#include <cmath>
#include <utility>

#include "ram/error.h"
#include "ram/statistics.h"

namespace ram {
namespace {

// The pair with the closest bits among the distinguished ones.
std::optional<LadderPair> find_closest_told(std::span<const LadderStep> steps,
                                            std::span<const LadderPair> pairs) {
  std::optional<LadderPair> closest;
  const auto apart = [&](const LadderPair& pair) {
    return std::fabs(steps[static_cast<size_t>(pair.a)].bits -
                     steps[static_cast<size_t>(pair.b)].bits);
  };
  for (const LadderPair& pair : pairs) {
    if (pair.p_holm >= kLevel || pair.ci95.holds(0)) continue;
    if (!closest || apart(pair) < apart(*closest)) closest = pair;
  }
  return closest;
}

double flip_rate(const LadderPair& pair) {
  return static_cast<double>(pair.flipped) / static_cast<double>(pair.questions);
}

// The pair with the lowest resolution. If several show nothing, the one with more flips needs more
// questions.
const LadderPair& least_seen(std::span<const LadderPair> pairs) {
  return *std::max_element(
      pairs.begin(), pairs.end(), [](const LadderPair& a, const LadderPair& b) {
        return std::pair(a.detectable, flip_rate(a)) < std::pair(b.detectable, flip_rate(b));
      });
}

}  // namespace

Chance judge_chance(std::span<const LadderStep> steps) {
  RAM_CHECK(!steps.empty());
  const double level = kLevel / static_cast<double>(steps.size());
  bool below = true;
  bool at = true;
  for (const LadderStep& step : steps) {
    if (share_interval(step.right, step.questions, level).low > step.chance) return Chance::kAbove;
    const double high = share_interval(step.right, step.questions).high;
    below = below && high < step.chance;
    at = at && high <= step.chance + kTellingDifference;
  }
  if (below) return Chance::kBelow;
  return at ? Chance::kAt : Chance::kUnknown;
}

LadderVerdict judge_ladder(std::span<const LadderStep> steps, std::span<const LadderPair> pairs,
                           int64_t comparisons) {
  RAM_CHECK(steps.size() >= 2 && !pairs.empty());
  LadderVerdict verdict;
  const auto [worst, best] = std::minmax_element(
      steps.begin(), steps.end(),
      [](const LadderStep& a, const LadderStep& b) { return a.accuracy() < b.accuracy(); });
  verdict.best = static_cast<int>(best - steps.begin());
  verdict.worst = static_cast<int>(worst - steps.begin());
  verdict.spread = best->accuracy() - worst->accuracy();
  verdict.chance = steps.front().chance;
  verdict.beside_chance = judge_chance(steps);
  verdict.closest_told = find_closest_told(steps, pairs);
  const LadderPair& hardest = least_seen(pairs);
  verdict.detectable = hardest.detectable;
  for (const LadderPair& pair : pairs) {
    verdict.most_apart =
        std::max({verdict.most_apart, std::fabs(pair.ci95.low), std::fabs(pair.ci95.high)});
  }
  if (verdict.closest_told) {
    verdict.kind = LadderKind::kTells;
  } else if (verdict.most_apart <= kTellingDifference) {
    verdict.kind =
        is_at_most(verdict.beside_chance) ? LadderKind::kAtChance : LadderKind::kSaturated;
  } else if (verdict.detectable > kTellingDifference) {
    verdict.kind = LadderKind::kUnderpowered;
    // More questions of the same subjects need not help if there are too few subjects.
    if (hardest.subject_factor <= 1) {
      verdict.questions_needed =
          questions_to_detect(kTellingDifference, flip_rate(hardest), comparisons);
    }
  } else {
    verdict.kind = LadderKind::kOpen;
  }
  return verdict;
}

}  // namespace ram
