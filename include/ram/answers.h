// What answers to questions say: one model's accuracy, and two models' differences. Pure functions
// of what the study keeps of them; docs/evaluation.md has the rules.
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
  double error = 0;     ///< standard error of it
  Interval ci95;        ///< of it: share_interval
  double chance = 0;    ///< accuracy of guessing: the mean of 1 / choices
  /// Per subject: right answers and questions.
  std::map<std::string, std::pair<int64_t, int64_t>> groups;
  int64_t cut_questions = 0;  ///< that did not fit the model's context
};

/// @pre at least one answer.
AnswerSummary summarize_answers(std::span<const TaskAnswer> answers);

/// Two models' answers to the same questions.
struct AnswerPair {
  int a = 0;  ///< positions among the models
  int b = 0;
  int64_t questions = 0;  ///< that both were asked
  double difference = 0;  ///< accuracy of a minus b
  /// Of the difference: flips_interval; where questions have several subjects, stretched to hold
  /// the paired bootstrap and Student's interval over these, since questions of one hang together.
  Interval ci95;
  Flips flips;
  double mcnemar_p = 1;
  /// What p_holm corrects: mcnemar_p, but no less than Student's p over subjects where there are
  /// several, since questions of one hang together.
  double p = 1;
  int64_t subjects = 0;      ///< that Student's test is over; 0: it has no say
  double subject_error = 0;  ///< standard error of the difference, over these
  // By correct_pairs, which knows how many pairs there are:
  double p_holm = 1;
  double detectable = 1;      ///< detectable_difference, of as few questions as subjects leave
  double subject_factor = 1;  ///< LadderPair::subject_factor
};

/// All pairs of models, each b before its a. @param answers per model, of the same questions in
/// one order. @param seed of the bootstrap; the result does not depend on the threads.
std::vector<AnswerPair> compare_answers(std::span<const std::span<const TaskAnswer>> answers,
                                        uint64_t seed, int threads);

/// @return "at chance (25 %)", "below chance (25 %)", "not known to be above chance (25 %, 20
/// questions)", or nothing where some model is above it.
std::string chance_text(Chance beside_chance, double chance, int64_t questions);

/// Corrects what is said of each pair for all of them. @param pairs of all tasks that are shown
/// together. @throws Error{kInterrupted}.
void correct_pairs(std::span<AnswerPair* const> pairs);

/// The verdict on one task's models. @param bits per weight, of the models that `summaries` and
/// `pairs` are of. @param comparisons how many pairs correct_pairs was given. @pre two or more.
LadderVerdict judge_answers(std::span<const double> bits, std::span<const AnswerSummary> summaries,
                            std::span<const AnswerPair> pairs, int64_t comparisons);

}  // namespace ram
