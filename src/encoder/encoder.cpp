#include "ram/encoder.h"

#include <algorithm>
#include <cmath>

#include "ram/error.h"

#include "reference.h"

namespace ram {

EncodedMatrix mlx_encode(const EncodeRequest& request, ThreadPool& pool) {
  const AffineFormat format = request.format;
  const int64_t groups = request.cols / format.group_size;
  const int64_t words = request.cols * format.bits / 32;
  const int64_t stored = groups * dtype_bits(request.dtype) / 8;
  EncodedMatrix encoded;
  encoded.codes.resize(static_cast<size_t>(request.rows * words));
  encoded.scales.resize(static_cast<size_t>(request.rows * stored));
  encoded.biases.resize(encoded.scales.size());
  pool.run(request.rows, [&](int64_t row, int) {
    affine_encode(reinterpret_cast<const std::byte*>(request.weights.data() + row * request.cols),
                  DType::kF32, 1, request.cols, format, request.dtype,
                  encoded.codes.data() + row * words, encoded.scales.data() + row * stored,
                  encoded.biases.data() + row * stored);
  });
  return encoded;
}

EncodedMatrix search_encode(const EncodeRequest& request, std::span<const float> importance,
                            ThreadPool&) {
  return search_encode_ref(request, importance);
}

struct FeedbackEncoder::State {
  const SecondMoment* moment;
  FeedbackOptions options;
};

FeedbackEncoder::FeedbackEncoder(const SecondMoment& moment, const FeedbackOptions& options,
                                 ThreadPool&)
    : state_(std::make_unique<State>(State{&moment, options})) {}
FeedbackEncoder::~FeedbackEncoder() = default;
FeedbackEncoder::FeedbackEncoder(FeedbackEncoder&&) noexcept = default;
FeedbackEncoder& FeedbackEncoder::operator=(FeedbackEncoder&&) noexcept = default;

EncodedMatrix FeedbackEncoder::encode(const EncodeRequest& request, ThreadPool& pool) const {
  const std::vector<float> diagonal = state_->moment->diagonal();
  const float greatest = *std::max_element(diagonal.begin(), diagonal.end());
  if (!(greatest > 0)) return search_encode(request, {}, pool);
  EncodedMatrix plain = search_encode(request, diagonal, pool);
  if (state_->options.grid == GroupGrid::kMlx) plain = mlx_encode(request, pool);
  EncodedMatrix fed = feedback_encode_ref(request, *state_->moment, state_->options);
  const double damping = state_->options.damping;
  const bool better = weighted_error_ref(request, fed, *state_->moment, damping) <=
                      weighted_error_ref(request, plain, *state_->moment, damping);
  return better ? fed : plain;
}

double weighted_error(const EncodeRequest& request, const EncodedMatrix& encoded,
                      const SecondMoment& moment, ThreadPool&) {
  return weighted_error_ref(request, encoded, moment, 0);
}

double squared_error(const EncodeRequest& request, const EncodedMatrix& encoded,
                     std::span<const float> importance) {
  std::vector<float> decoded(request.weights.size());
  affine_decode(encoded.codes.data(), encoded.scales.data(), encoded.biases.data(), request.dtype,
                request.rows, request.cols, request.format, decoded.data());
  double total = 0;
  for (size_t i = 0; i < decoded.size(); ++i) {
    const double error = double{decoded[i]} - request.weights[i];
    const double share = importance.empty() ? 1 : importance[i % static_cast<size_t>(request.cols)];
    total += share * error * error;
  }
  return total;
}

}  // namespace ram
