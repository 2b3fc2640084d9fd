// The fast encoders against the reference in plain loops.
#include "ram/thread.h"

#include "reference.h"
#include "test_support.h"

namespace ram {
namespace {

constexpr int64_t kRows = 9;  // not a whole number of vectors
constexpr int64_t kCols = 256;

TEST(Encoder, ASearchLosesWhatTheReferencesSearchLoses) {
  ThreadPool pool(2);
  const std::vector<float> importance = correlated_moment(kCols, 400, 1, pool).diagonal();
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    const std::vector<float> weights = weights_of(Rows::kNormal, kRows * kCols, dtype, 2);
    for (const AffineFormat format : kAffineFormats) {
      const EncodeRequest request = {weights, kRows, kCols, format, dtype};
      const double expected =
          squared_error(request, search_encode_ref(request, importance), importance);
      on_each_target([&](const char* target) {
        const double found =
            squared_error(request, search_encode(request, importance, pool), importance);
        EXPECT_NEAR(found / expected, 1, 5e-3) << target << " " << format_name(format);
      });
    }
  }
}

/// A single different rounding changes all later ones: results for one format agree only as well as
/// for two draws of weights, but their mean agrees closely.
TEST(Encoder, FeedbackLosesWhatTheReferencesFeedbackLoses) {
  ThreadPool pool(2);
  const SecondMoment moment = correlated_moment(kCols, 400, 1, pool);
  const std::vector<float> weights = weights_of(Rows::kNormal, kRows * kCols, DType::kBF16, 2);
  for (const GroupGrid grid : {GroupGrid::kMlx, GroupGrid::kSearch}) {
    const FeedbackOptions options = {.grid = grid, .tries = 0, .sweeps = 0};
    const FeedbackEncoder encoder(moment, options, pool);
    double logs = 0;
    int count = 0;
    for (const AffineFormat format : kAffineFormats) {
      const EncodeRequest request = {weights, kRows, kCols, format, DType::kBF16};
      const double expected = weighted_error_ref(
          request, feedback_encode_ref(request, moment, options), moment, options.damping);
      on_each_target([&](const char* target) {
        const double found =
            weighted_error_ref(request, encoder.encode(request, pool), moment, options.damping);
        EXPECT_NEAR(found / expected, 1, 0.1) << target << " " << format_name(format);
        logs += std::log(found / expected);
        ++count;
      });
    }
    EXPECT_NEAR(logs / count, 0, 0.015);
  }
}

TEST(Encoder, EachStepLosesLessThanTheOneBefore) {
  ThreadPool pool(2);
  const SecondMoment moment = correlated_moment(kCols, 1000, 1, pool);
  const std::vector<float> weights = weights_of(Rows::kNormal, 32 * kCols, DType::kBF16, 3);
  const FeedbackEncoder once(moment, {.tries = 0, .sweeps = 0}, pool);
  const FeedbackEncoder tried(moment, {.tries = 4, .sweeps = 0}, pool);
  const FeedbackEncoder descended(moment, {.tries = 4, .sweeps = 2}, pool);
  for (const AffineFormat format : kAffineFormats) {
    const EncodeRequest request = {weights, 32, kCols, format, DType::kBF16};
    const auto lost = [&](const EncodedMatrix& encoded) {
      return weighted_error(request, encoded, moment, pool);
    };
    const double search = lost(search_encode(request, moment.diagonal(), pool));
    const double feedback = lost(once.encode(request, pool));
    EXPECT_LT(search, lost(mlx_encode(request, pool))) << format_name(format);
    EXPECT_LT(feedback, 0.7 * search) << format_name(format);
    const double best = lost(tried.encode(request, pool));
    EXPECT_LT(best, feedback) << format_name(format);
    EXPECT_LT(lost(descended.encode(request, pool)), best) << format_name(format);
  }
}

}  // namespace
}  // namespace ram
