// Each kernel against plain loops in double, at every length around a vector's.
#include "cpu/kernels.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ram/dtype.h"

#include "support/each_target.h"
#include "support/random_values.h"

namespace ram {
namespace {

std::vector<float> kernel_values(int64_t count, uint64_t seed) {
  return testing::random_values(seed, "values", count, 0, 3);
}

/// Calls check(count, target) at lengths that end before, at and past a vector of each target.
template <typename Check>
void at_each_length(const Check& check) {
  on_each_target([&](const std::string& target) {
    for (int64_t count = 1; count <= 70; ++count) check(count, target);
    check(int64_t{1000}, target);
  });
}

void expect_near(const std::vector<float>& found, const std::vector<double>& expected,
                 double relative, const std::string& target) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    ASSERT_NEAR(found[i], expected[i], relative * std::max(1e-3, std::abs(expected[i])))
        << i << " of " << found.size() << ", " << target;
  }
}

TEST(Kernels, NormIsByTheRootOfTheMeanSquare) {
  at_each_length([](int64_t count, const std::string& target) {
    const auto x = kernel_values(count, 1);
    const auto weight = kernel_values(count, 2);
    double squares = 0;
    for (const float v : x) squares += double{v} * double{v};
    const double root = std::sqrt(squares / static_cast<double>(count) + 1e-5);
    std::vector<double> expected;
    for (size_t i = 0; i < x.size(); ++i) expected.push_back(x[i] / root * weight[i]);
    std::vector<float> out(x.size());
    rms_norm_row(x.data(), weight.data(), count, 1e-5F, out.data());
    expect_near(out, expected, 2e-6, target);
    auto in_place = x;
    rms_norm_row(in_place.data(), weight.data(), count, 1e-5F, in_place.data());
    EXPECT_EQ(in_place, out) << target;
  });
}

TEST(Kernels, RotationTurnsTheFirstHalfWithTheSecond) {
  at_each_length([](int64_t half, const std::string& target) {
    const auto x = kernel_values(2 * half, 3);
    std::vector<float> cosines;
    std::vector<float> sines;
    std::vector<double> expected(x.size());
    for (int64_t i = 0; i < half; ++i) {
      const auto angle = static_cast<float>(i);
      cosines.push_back(std::cos(angle));
      sines.push_back(std::sin(angle));
      const double a = x[i];
      const double b = x[i + half];
      expected[i] = a * cosines[i] - b * sines[i];
      expected[i + half] = b * cosines[i] + a * sines[i];
    }
    auto found = x;
    rotate_head(found.data(), cosines.data(), sines.data(), 2 * half);
    for (size_t i = 0; i < found.size(); ++i) {
      ASSERT_NEAR(found[i], expected[i], 4e-6) << i << ", " << target;
    }
  });
}

TEST(Kernels, GateIsSiluTimesUpAndKeepsItsEnds) {
  at_each_length([](int64_t count, const std::string& target) {
    auto gate = kernel_values(count, 4);
    const auto up = kernel_values(count, 5);
    gate[0] = -100;  // exp does not overflow
    std::vector<double> expected;
    for (size_t i = 0; i < gate.size(); ++i) {
      expected.push_back(double{gate[i]} / (1 + std::exp(-double{gate[i]})) * up[i]);
    }
    gate_row(gate.data(), up.data(), count);
    expect_near(gate, expected, 1e-5, target);
  });
}

TEST(Kernels, GateHasItsSlopes) {
  at_each_length([](int64_t count, const std::string& target) {
    auto gate = kernel_values(count, 4);
    const auto up = kernel_values(count, 5);
    const auto dy = kernel_values(count, 11);
    gate[0] = -100;
    std::vector<double> of_gate;
    std::vector<double> of_up;
    for (size_t i = 0; i < gate.size(); ++i) {
      const double g = gate[i];
      const double sigmoid = 1 / (1 + std::exp(-g));
      of_up.push_back(dy[i] * g * sigmoid);
      of_gate.push_back(double{dy[i]} * up[i] * (sigmoid + g * sigmoid * (1 - sigmoid)));
    }
    std::vector<float> dgate(gate.size());
    std::vector<float> dup(gate.size());
    gate_back_row(gate.data(), up.data(), dy.data(), count, dgate.data(), dup.data());
    expect_near(dgate, of_gate, 2e-5, target);
    expect_near(dup, of_up, 1e-5, target);
  });
}

TEST(Kernels, ExponentialsAndTheirSum) {
  at_each_length([](int64_t count, const std::string& target) {
    auto x = kernel_values(count, 12);
    const float largest = *std::max_element(x.begin(), x.end());
    EXPECT_EQ(largest_of_row(x.data(), count), largest) << target;
    const float shift = largest + 0.5F;
    double sum = 0;
    std::vector<double> expected;
    for (const float v : x) {
      expected.push_back(-std::exp(double{v} - double{shift}));
      sum -= expected.back();
    }
    EXPECT_NEAR(sum_exp_row(x.data(), count, shift), sum, 1e-5 * sum) << target;
    negative_exp_row(x.data(), count, shift);
    expect_near(x, expected, 1e-5, target);
  });
}

TEST(Kernels, SoftmaxSumsToOneAndTakesLargeAndMaskedScores) {
  at_each_length([](int64_t count, const std::string& target) {
    auto x = kernel_values(count, 6);
    for (float& v : x) v += 1e4F;
    if (count > 3) x[2] = -std::numeric_limits<float>::infinity();
    constexpr float kScale = 0.625F;
    const double most = *std::max_element(x.begin(), x.end());
    double sum = 0;
    for (const float v : x) sum += std::exp(kScale * (double{v} - most));
    std::vector<double> expected;
    expected.reserve(x.size());
    for (const float v : x) expected.push_back(std::exp(kScale * (double{v} - most)) / sum);
    softmax_row(x.data(), count, kScale);
    expect_near(x, expected, 1e-5, target);
    if (count > 3) {
      EXPECT_EQ(x[2], 0.0F) << target;
    }
  });
}

TEST(Kernels, SumsAndScalings) {
  at_each_length([](int64_t count, const std::string& target) {
    const auto x = kernel_values(count, 7);
    const auto y = kernel_values(count, 8);
    double product = 0;
    std::vector<double> added;
    std::vector<float> scaled;
    for (size_t i = 0; i < x.size(); ++i) {
      product += double{x[i]} * double{y[i]};
      added.push_back(double{x[i]} - 0.7 * y[i]);
      scaled.push_back(x[i] * 0.3F);
    }
    EXPECT_NEAR(dot_in_double(x.data(), y.data(), count), product,
                2e-5 * static_cast<double>(std::min<int64_t>(count, 256)))
        << target;
    auto found = x;
    scale_row(found.data(), 0.3F, count);
    EXPECT_EQ(found, scaled) << target;
    found = x;
    add_scaled_row(found.data(), y.data(), -0.7F, count);
    for (size_t i = 0; i < found.size(); ++i) {
      ASSERT_NEAR(found[i], added[i], 2e-6) << i << ", " << target;
    }
  });
}

TEST(Kernels, ProductsAndSumsOfRows) {
  at_each_length([](int64_t count, const std::string& target) {
    constexpr int64_t kRows = 7;
    const int64_t stride = count + 3;
    const auto x = kernel_values(count, 13);
    const auto y = kernel_values(kRows * stride, 14);
    const auto scales = kernel_values(kRows, 15);
    std::vector<float> products(kRows);
    dot_rows(x.data(), y.data(), stride, kRows, count, products.data());
    std::vector<double> sums(x.size());
    for (int64_t j = 0; j < kRows; ++j) {
      double product = 0;
      for (int64_t i = 0; i < count; ++i) {
        const double value = y[static_cast<size_t>(j * stride + i)];
        product += value * double{x[static_cast<size_t>(i)]};
        sums[static_cast<size_t>(i)] += value * double{scales[static_cast<size_t>(j)]};
      }
      EXPECT_NEAR(products[static_cast<size_t>(j)], product, 2e-5 * static_cast<double>(count))
          << target;
    }
    std::vector<float> found(x.size(), 1.0F);
    add_weighted_rows(scales.data(), y.data(), stride, kRows, count, found.data());
    for (size_t i = 0; i < found.size(); ++i) {
      ASSERT_NEAR(found[i], 1 + sums[i], 2e-5) << i << ", " << target;
    }
  });
}

TEST(Kernels, RoundingToBf16IsThatOfTheStoredFormat) {
  at_each_length([](int64_t count, const std::string& target) {
    auto x = kernel_values(count, 9);
    x[0] = 1.00390625F;  // a tie, rounded to even
    std::vector<uint16_t> expected(x.size());
    from_f32(x.data(), DType::kBF16, count, reinterpret_cast<std::byte*>(expected.data()));
    std::vector<float> rounded(x.size());
    to_f32(reinterpret_cast<const std::byte*>(expected.data()), DType::kBF16, count,
           rounded.data());
    round_row_to_bf16(x.data(), count);
    EXPECT_EQ(x, rounded) << target;
    std::vector<uint16_t> narrow(x.size());
    narrow_row_to_bf16(x.data(), count, narrow.data());
    EXPECT_EQ(narrow, expected) << target;
  });
}

TEST(Kernels, TheFirstValueThatIsNoNumberIsFound) {
  at_each_length([](int64_t count, const std::string& target) {
    const auto x = kernel_values(count, 10);
    EXPECT_EQ(find_non_finite_float(x.data(), count), -1) << target;
    for (const float bad :
         {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
          std::numeric_limits<float>::quiet_NaN()}) {
      for (const int64_t where : {count - 1, count / 2, int64_t{0}}) {
        auto broken = x;
        broken[count - 1] = bad;
        broken[where] = bad;
        EXPECT_EQ(find_non_finite_float(broken.data(), count), where) << target;
      }
    }
  });
}

}  // namespace
}  // namespace ram
