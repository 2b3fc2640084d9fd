// Sums over pieces against the definition over the whole vocabulary, in long double.
#include "logit_sums.h"

#include <algorithm>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace ram {
namespace {

struct Case {
  std::vector<float> reference;
  std::vector<float> model;
};

Case make_case(size_t vocabulary, double spread, double noise, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal;
  Case c;
  for (size_t i = 0; i < vocabulary; ++i) {
    const double a = spread * normal(generator);
    c.reference.push_back(static_cast<float>(a));
    c.model.push_back(static_cast<float>(a + noise * normal(generator)));
  }
  return c;
}

long double exact_log_sum_exp(const std::vector<float>& logits) {
  const long double most = *std::max_element(logits.begin(), logits.end());
  long double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<long double>(logit) - most);
  return most + std::log(sum);
}

long double kl_of(const Case& c) {
  const long double a_sum = exact_log_sum_exp(c.reference);
  const long double b_sum = exact_log_sum_exp(c.model);
  long double kl = 0;
  for (size_t i = 0; i < c.reference.size(); ++i) {
    const long double a = c.reference[i] - a_sum;
    const long double b = c.model[i] - b_sum;
    kl += std::exp(a) * (a - b);
  }
  return kl;
}

struct Found {
  LogitSum sums[2];
  double cross = 0;
  double kl() const { return divergence(sums[0], sums[1], cross); }
};

Found by_pieces(const Case& c, size_t piece) {
  Found found;
  for (size_t begin = 0; begin < c.reference.size(); begin += piece) {
    const size_t size = std::min(piece, c.reference.size() - begin);
    const float* logits[2] = {c.reference.data() + begin, c.model.data() + begin};
    add_logits_of_all(found.sums, &found.cross, logits, 1, static_cast<int64_t>(begin),
                      static_cast<int64_t>(size));
  }
  return found;
}

TEST(LogitSums, AreTheDefinitionWhateverThePieces) {
  for (const double spread : {0.1, 3.0, 30.0}) {
    for (const double noise : {1e-4, 0.1, 5.0}) {
      const Case c = make_case(1537, spread, noise, 7);
      const auto reference = static_cast<double>(exact_log_sum_exp(c.reference));
      const auto kl = static_cast<double>(kl_of(c));
      for (const size_t piece : {size_t{1}, size_t{7}, size_t{256}, size_t{1000}, size_t{1537}}) {
        const Found found = by_pieces(c, piece);
        EXPECT_NEAR(found.sums[0].log_sum_exp(), reference, 1e-12 * (1 + std::fabs(reference)));
        EXPECT_NEAR(found.kl(), kl, 1e-13 + 1e-10 * kl) << spread << " " << noise << " " << piece;
        const auto first = std::max_element(c.model.begin(), c.model.end()) - c.model.begin();
        EXPECT_EQ(found.sums[1].likeliest, first);
      }
    }
  }
}

TEST(LogitSums, AModelAgainstItselfDivergesByExactlyNothing) {
  Case c = make_case(5000, 4, 0, 3);
  for (const size_t piece : {size_t{64}, size_t{999}}) {
    const Found found = by_pieces(c, piece);
    EXPECT_EQ(found.cross, 0);
    EXPECT_EQ(found.kl(), 0);
  }
}

TEST(LogitSums, HoldWithLogitsFarApart) {
  Case c;
  c.reference = {-1e30F, 3e4F, -3e4F, 0, 2.9e4F};
  c.model = {1e30F, 3e4F, -3e4F, 5, 2.9e4F};
  const Found found = by_pieces(c, 1);
  EXPECT_EQ(found.sums[0].log_sum_exp(), 3e4);
  EXPECT_EQ(found.sums[1].log_sum_exp(), static_cast<double>(1e30F));
  EXPECT_TRUE(std::isfinite(found.kl()));
  EXPECT_EQ(found.sums[1].likeliest, 0);
}

TEST(LogitSums, OfEqualLogitsTheFirstIsTheLikeliest) {
  const Case c{.reference = {1, 7, 7, 7}, .model = {7, 7, 1, 7}};
  for (const size_t piece : {size_t{1}, size_t{2}, size_t{4}}) {
    const Found found = by_pieces(c, piece);
    EXPECT_EQ(found.sums[0].likeliest, 1);
    EXPECT_EQ(found.sums[1].likeliest, 0);
  }
}

}  // namespace
}  // namespace ram
