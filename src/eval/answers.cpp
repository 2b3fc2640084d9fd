// Counts answers, and the flips between two models.
#include "ram/answers.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "ram/cancellation.h"
#include "ram/error.h"
#include "ram/size.h"

#include "distributions.h"

namespace ram {

AnswerSummary summarize_answers(std::span<const TaskAnswer> answers) {
  RAM_CHECK(!answers.empty());
  AnswerSummary summary;
  for (const TaskAnswer& answer : answers) {
    const int64_t right = answer.choice == answer.answer ? 1 : 0;
    summary.right += right;
    summary.cut_questions += answer.cut > 0 ? 1 : 0;
    RAM_CHECK(!answer.log_likelihoods.empty());
    summary.chance += 1 / static_cast<double>(answer.log_likelihoods.size());
    if (answer.group.empty()) continue;
    auto& [group_right, group_total] = summary.groups[answer.group];
    group_right += right;
    ++group_total;
  }
  summary.questions = static_cast<int64_t>(answers.size());
  summary.accuracy = static_cast<double>(summary.right) / static_cast<double>(summary.questions);
  summary.error = accuracy_error(summary.right, summary.questions);
  summary.ci95 = share_interval(summary.right, summary.questions);
  summary.chance /= static_cast<double>(summary.questions);
  return summary;
}

namespace {

AnswerPair compare_two(std::span<const TaskAnswer> one, std::span<const TaskAnswer> other,
                       uint64_t seed, int threads) {
  RAM_CHECK(one.size() == other.size());
  AnswerPair pair;
  // Each question without a subject is a separate cluster.
  std::map<std::pair<std::string, int64_t>, std::pair<double, int64_t>> clusters;
  for (size_t i = 0; i < one.size(); ++i) {
    RAM_CHECK(one[i].question == other[i].question);
    const int gain =
        (one[i].choice == one[i].answer ? 1 : 0) - (other[i].choice == other[i].answer ? 1 : 0);
    if (gain > 0) ++pair.flips.gained;
    if (gain < 0) ++pair.flips.lost;
    auto& [sum, count] = clusters[{one[i].group, one[i].group.empty() ? one[i].question : 0}];
    sum += gain;
    ++count;
  }
  std::vector<double> sums;
  std::vector<int64_t> counts;
  for (const auto& [cluster, entry] : clusters) {
    sums.push_back(entry.first);
    counts.push_back(entry.second);
  }
  const auto total = static_cast<int64_t>(one.size());
  pair.questions = total;
  pair.difference =
      static_cast<double>(pair.flips.gained - pair.flips.lost) / static_cast<double>(total);
  pair.ci95 = flips_interval(pair.flips, total);
  pair.mcnemar_p = mcnemar_test(pair.flips);
  pair.p = pair.mcnemar_p;
  if (std::ssize(sums) < total) {
    const auto stretch = [&](const Interval& by_subject) {
      pair.ci95.low = std::min(pair.ci95.low, by_subject.low);
      pair.ci95.high = std::max(pair.ci95.high, by_subject.high);
    };
    stretch(bootstrap_interval(sums, counts, {.seed = seed, .threads = threads}));
    if (sums.size() > 1) {
      // Resamples of few subjects hardly differ: Student's interval accounts for their number.
      const PairedDifference by_subject = paired_difference(sums, counts);
      pair.p = std::max(pair.p, by_subject.p);
      pair.subjects = std::ssize(sums);
      pair.subject_error = by_subject.standard_error;
      stretch({std::max(-1.0, by_subject.t95.low), std::min(1.0, by_subject.t95.high)});
    }
  }
  return pair;
}

}  // namespace

std::vector<AnswerPair> compare_answers(std::span<const std::span<const TaskAnswer>> answers,
                                        uint64_t seed, int threads) {
  std::vector<AnswerPair> pairs;
  for (size_t a = 0; a < answers.size(); ++a) {
    for (size_t b = 0; b < a; ++b) {
      AnswerPair& pair = pairs.emplace_back(compare_two(answers[a], answers[b], seed, threads));
      pair.a = static_cast<int>(a);
      pair.b = static_cast<int>(b);
    }
  }
  return pairs;
}

std::string chance_text(Chance beside_chance, double chance, int64_t questions) {
  switch (beside_chance) {
    case Chance::kAbove:
      return "";
    case Chance::kBelow:
      return fmt::format("below chance ({:.3g} %)", 100 * chance);
    case Chance::kAt:
      return fmt::format("at chance ({:.3g} %)", 100 * chance);
    case Chance::kUnknown:
      return fmt::format("not known to be above chance ({:.3g} %, {} question{})", 100 * chance,
                         group_digits(questions), questions == 1 ? "" : "s");
  }
  return "";
}

namespace {

// A pair is distinguished if both tests distinguish it. Each needs a multiple of its own standard
// error, at the level that the smallest of all p-values must meet.
double subject_factor(const AnswerPair& pair, double level) {
  const auto flipped = static_cast<double>(pair.flips.gained + pair.flips.lost);
  if (pair.subjects < 2 || flipped == 0) return 1;
  const double by_subject =
      student_quantile(level, static_cast<double>(pair.subjects - 1)) * pair.subject_error;
  const double by_question =
      normal_quantile(level) * std::sqrt(flipped) / static_cast<double>(pair.questions);
  return std::max(1.0, by_subject / by_question);
}

}  // namespace

void correct_pairs(std::span<AnswerPair* const> pairs) {
  std::vector<double> p_values;
  for (const AnswerPair* pair : pairs) p_values.push_back(pair->p);
  const std::vector<double> adjusted = holm(p_values);
  for (size_t i = 0; i < pairs.size(); ++i) {
    check_interrupted();  // each may take a tenth of a second, and many models have many pairs
    AnswerPair& pair = *pairs[i];
    pair.p_holm = adjusted[i];
    pair.subject_factor = subject_factor(pair, kLevel / static_cast<double>(pairs.size()));
    // Correlated questions are worth fewer independent ones.
    const auto worth = [&](int64_t count) {
      return std::llround(static_cast<double>(count) / (pair.subject_factor * pair.subject_factor));
    };
    const int64_t questions = std::max<int64_t>(1, worth(pair.questions));
    const int64_t flipped =
        std::min<int64_t>(questions, worth(pair.flips.gained + pair.flips.lost));
    pair.detectable = detectable_difference(questions, flipped, std::ssize(pairs));
  }
}

LadderVerdict judge_answers(std::span<const double> bits, std::span<const AnswerSummary> summaries,
                            std::span<const AnswerPair> pairs, int64_t comparisons) {
  RAM_CHECK(bits.size() == summaries.size());
  std::vector<LadderStep> steps;
  for (size_t i = 0; i < bits.size(); ++i) {
    steps.push_back({.bits = bits[i],
                     .right = summaries[i].right,
                     .questions = summaries[i].questions,
                     .chance = summaries[i].chance});
  }
  std::vector<LadderPair> ladder;
  for (const AnswerPair& pair : pairs) {
    ladder.push_back({.a = pair.a,
                      .b = pair.b,
                      .p_holm = pair.p_holm,
                      .detectable = pair.detectable,
                      .ci95 = pair.ci95,
                      .questions = pair.questions,
                      .flipped = pair.flips.gained + pair.flips.lost,
                      .subject_factor = pair.subject_factor});
  }
  return judge_ladder(steps, ladder, comparisons);
}

}  // namespace ram
