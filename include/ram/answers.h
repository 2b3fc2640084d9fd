// Statistics of answers: one model's accuracy, and the difference between two models. Pure
// functions of what the study keeps; docs/evaluation.md has the rules.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "ram/answer_table.h"
#include "ram/statistics.h"

namespace ram {

/// One model's answers to one task, counted.
struct AnswerSummary {
  int64_t questions = 0;
  int64_t right = 0;
  double accuracy = 0;  ///< share
  double error = 0;     ///< standard error of the accuracy
  Interval ci95;        ///< of the accuracy: share_interval
  double chance = 0;    ///< accuracy of guessing: the mean of 1 / choices
  /// Per subject: right answers and questions.
  std::map<std::string, std::pair<int64_t, int64_t>> groups;
  int64_t cut_questions = 0;  ///< whose prompts did not fit the model's context
};

/// @pre at least one answer.
AnswerSummary summarize_answers(std::span<const TaskAnswer> answers);

/// Two models' answers to the same questions.
struct AnswerPair {
  int a = 0;  ///< positions among the models
  int b = 0;
  int64_t questions = 0;  ///< that both were asked
  double difference = 0;  ///< accuracy of a minus b
  /// Of the difference: flips_interval; if questions have several subjects, widened to contain the
  /// paired bootstrap's and Student's intervals over subjects, since questions of one subject are
  /// correlated.
  Interval ci95;
  Flips flips;
  double mcnemar_p = 1;
  /// What p_holm corrects: mcnemar_p or, if there are several subjects and it is larger, Student's
  /// p over subjects, since questions of one subject are correlated.
  double p = 1;
  int64_t subjects = 0;      ///< in Student's test; 0: it is not used
  double subject_error = 0;  ///< standard error of the difference, over subjects
  // Set by correct_pairs, which knows the number of pairs:
  double p_holm = 1;
  double detectable = 1;      ///< detectable_difference, for the effective number of questions
  double subject_factor = 1;  ///< LadderPair::subject_factor
};

/// All pairs of models, each b before its a. @param answers per model, of the same questions in
/// one order. @param seed of the bootstrap; the result does not depend on the threads.
std::vector<AnswerPair> compare_answers(std::span<const std::span<const TaskAnswer>> answers,
                                        uint64_t seed, int threads);

/// @return "at chance (25 %)", "below chance (25 %)", "not known to be above chance (25 %, 20
/// questions)", or an empty text if some model is above it.
std::string chance_text(Chance beside_chance, double chance, int64_t questions);

/// Corrects each pair's results for the number of pairs. @param pairs of all tasks that are shown
/// together. @throws Error{kInterrupted}.
void correct_pairs(std::span<AnswerPair* const> pairs);

/// The verdict on one task's models. @param bits per weight, of the models in `summaries` and
/// `pairs`. @param comparisons how many pairs correct_pairs was given. @pre two models or more.
LadderVerdict judge_answers(std::span<const double> bits, std::span<const AnswerSummary> summaries,
                            std::span<const AnswerPair> pairs, int64_t comparisons);

}  // namespace ram
