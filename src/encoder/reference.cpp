#include "reference.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ram/error.h"

#include "lanes.h"

namespace ram {
namespace {

float round_stored(double value, DType dtype) {
  const auto wide = static_cast<float>(value);
  std::byte stored[4] = {};
  from_f32(&wide, dtype, 1, stored);
  float back = 0;
  to_f32(stored, dtype, 1, &back);
  return back;
}

double greatest_of(DType dtype) {
  if (dtype == DType::kF16) return 65504;
  return dtype == DType::kBF16 ? 0x1.FEp127 : std::numeric_limits<float>::max();
}

/// The best rule found so far.
class Best {
 public:
  Best(std::span<const float> weights, std::span<const float> importance, int bits, DType dtype)
      : weights_(weights), importance_(importance), bits_(bits), dtype_(dtype) {}

  /// Rounds the rule to the stored dtype and takes it if it is better.
  void offer(double scale, double bias) {
    const StoredRule rule = {round_stored(scale, dtype_), round_stored(bias, dtype_)};
    const int top = (1 << bits_) - 1;
    if (!std::isfinite(rule.bias) || !(std::abs(double{rule.scale}) * top <= greatest_of(dtype_))) {
      return;
    }
    double error = 0;
    for (size_t i = 0; i < weights_.size(); ++i) {
      const double decoded =
          double{rule.scale} * nearest_code(weights_[i], rule, bits_) + rule.bias;
      error += importance_[i] * (decoded - weights_[i]) * (decoded - weights_[i]);
    }
    if (!found_ || error < error_) {
      found_ = true;
      best_ = rule;
      error_ = error;
    }
  }

  /// Least squares, then scales around the result, as often as the fast search does.
  void refine() {
    constexpr SearchEffort kEffort = kSearchEffort;
    for (int round = 0; round < kEffort.least_squares; ++round) offer_least_squares({1});
    std::vector<double> factors;
    for (int i = 1; i <= kEffort.neighbors; ++i) {
      factors.push_back(1 - i * double{kEffort.spacing});
      factors.push_back(1 + i * double{kEffort.spacing});
    }
    for (int repeat = 0; repeat < kEffort.repeats; ++repeat) {
      offer_least_squares(factors);
      offer_least_squares({1});
    }
  }

  StoredRule rule() const { return best_; }

 private:
  /// The least-squares scale for the best rule's codes times each factor, and the best bias for it.
  void offer_least_squares(const std::vector<double>& factors) {
    double n = 0;
    double q = 0;
    double qq = 0;
    double w = 0;
    double qw = 0;
    for (size_t i = 0; i < weights_.size(); ++i) {
      const double code = nearest_code(weights_[i], best_, bits_);
      const double m = importance_[i];
      n += m;
      q += m * code;
      qq += m * code * code;
      w += m * weights_[i];
      qw += m * code * weights_[i];
    }
    const double determinant = n * qq - q * q;
    if (!(determinant > 1e-9 * n * qq)) return;
    for (const double factor : factors) {
      const double scale = round_stored((n * qw - q * w) / determinant * factor, dtype_);
      offer(scale, (w - scale * q) / n);
    }
  }

  std::span<const float> weights_;
  std::span<const float> importance_;
  int bits_;
  DType dtype_;
  bool found_ = false;
  StoredRule best_;
  double error_ = 0;
};

/// MLX's rule from any two ends.
void offer_with_zero(Best& best, double lo, double hi, int bits) {
  const bool low_edge = std::abs(lo) > std::abs(hi);
  const double step = std::max((hi - lo) / ((1 << bits) - 1), 1e-7);
  const double scale = low_edge ? step : -step;
  const double edge = low_edge ? lo : hi;
  const double steps = std::rint(edge / scale);
  if (steps == 0) best.offer(scale, 0);
  if (steps != 0) best.offer(edge / steps, edge);
}

std::vector<float> decode(const EncodeRequest& request, const EncodedMatrix& encoded) {
  std::vector<float> out(request.weights.size());
  affine_decode(encoded.codes.data(), encoded.scales.data(), encoded.biases.data(), request.dtype,
                request.rows, request.cols, request.format, out.data());
  return out;
}

struct Writer {
  EncodedMatrix matrix;
  AffineFormat format;
  DType dtype;

  explicit Writer(const EncodeRequest& request) : format(request.format), dtype(request.dtype) {
    const int64_t weights = request.rows * request.cols;
    matrix.codes.resize(static_cast<size_t>(code_words(weights, format)));
    matrix.scales.resize(static_cast<size_t>(scale_bytes(weights, format, dtype)));
    matrix.biases.resize(matrix.scales.size());
  }
  void rule(int64_t group, StoredRule rule) {
    const int64_t at = group * dtype_bytes(dtype);
    from_f32(&rule.scale, dtype, 1, matrix.scales.data() + at);
    from_f32(&rule.bias, dtype, 1, matrix.biases.data() + at);
  }
  void code(int64_t weight, int code) {
    for (int b = 0; b < format.bits; ++b) {
      const int64_t bit = weight * format.bits + b;
      if (((code >> b) & 1) != 0) matrix.codes[static_cast<size_t>(bit / 32)] |= 1U << (bit % 32);
    }
  }
};

/// Lower factor L with J H J = L L^T, where J reverses the order: then H = V V^T with V = J L J
/// upper.
std::vector<double> reversed_cholesky(const SecondMoment& moment, double damping) {
  const auto n = static_cast<size_t>(moment.cols());
  double mean = 0;
  for (const float d : moment.diagonal()) mean += d;
  mean /= static_cast<double>(n);
  std::vector<double> l(n * n);
  for (size_t j = 0; j < n; ++j) {
    for (size_t i = j; i < n; ++i) {
      double sum = moment.values()[(n - 1 - i) * n + (n - 1 - j)];
      if (i == j) sum += damping * mean;
      for (size_t k = 0; k < j; ++k) sum -= l[i * n + k] * l[j * n + k];
      l[i * n + j] = i == j ? std::sqrt(sum) : sum / l[j * n + j];
    }
  }
  return l;
}

}  // namespace

int nearest_code(double weight, StoredRule rule, int bits) {
  const double code = std::rint((weight - rule.bias) / rule.scale);
  return code > 0 ? static_cast<int>(std::min<double>(code, (1 << bits) - 1)) : 0;
}

StoredRule search_group_ref(std::span<const float> weights, std::span<const float> importance,
                            int bits, DType dtype) {
  const auto [least, greatest] = std::minmax_element(weights.begin(), weights.end());
  const double lo = *least;
  const double hi = *greatest;
  const double top = (1 << bits) - 1;
  Best best(weights, importance, bits, dtype);
  best.offer(std::min(hi / top - lo / top, greatest_of(dtype) / top), lo);
  offer_with_zero(best, lo, hi, bits);
  const double step = (hi - lo) * kSearchEffort.share / top;
  for (int i = -kSearchEffort.outward; i <= kSearchEffort.inward; ++i) {
    for (int j = -kSearchEffort.outward; j <= kSearchEffort.inward; ++j) {
      const double l = lo + step * i;
      best.offer((hi - step * j - l) / top, l);
    }
  }
  best.refine();
  return best.rule();
}

EncodedMatrix search_encode_ref(const EncodeRequest& request, std::span<const float> importance) {
  Writer writer(request);
  const auto size = static_cast<size_t>(request.format.group_size);
  const std::vector<float> ones(static_cast<size_t>(request.cols), 1.0F);
  if (importance.empty()) importance = ones;
  for (size_t at = 0; at < request.weights.size(); at += size) {
    const auto weights = request.weights.subspan(at, size);
    const StoredRule rule =
        search_group_ref(weights, importance.subspan(at % static_cast<size_t>(request.cols), size),
                         request.format.bits, request.dtype);
    writer.rule(static_cast<int64_t>(at / size), rule);
    for (size_t i = 0; i < size; ++i) {
      writer.code(static_cast<int64_t>(at + i),
                  nearest_code(weights[i], rule, request.format.bits));
    }
  }
  return writer.matrix;
}

EncodedMatrix feedback_encode_ref(const EncodeRequest& request, const SecondMoment& moment,
                                  const FeedbackOptions& options) {
  Writer writer(request);
  const auto n = static_cast<size_t>(request.cols);
  const auto size = static_cast<size_t>(request.format.group_size);
  const std::vector<double> l = reversed_cholesky(moment, options.damping);
  const auto v = [&](size_t i, size_t j) { return l[(n - 1 - i) * n + (n - 1 - j)]; };
  double mean = 0;
  for (const float d : moment.diagonal()) mean += d / static_cast<double>(n);
  std::vector<float> importance = moment.diagonal();
  for (size_t k = 0; k < n; ++k) {
    const double on_diagonal = double{importance[k]} + options.damping * mean;
    importance[k] = static_cast<float>(std::sqrt(on_diagonal) * v(k, k));
  }
  std::vector<double> now(n);
  std::vector<float> group(size);
  for (int64_t row = 0; row < request.rows; ++row) {
    const auto weights = request.weights.subspan(static_cast<size_t>(row) * n, n);
    now.assign(weights.begin(), weights.end());
    StoredRule rule;
    for (size_t k = 0; k < n; ++k) {
      if (k % size == 0) {
        // The values of the columns if none of the group were rounded.
        std::vector<double> unrounded(now.begin() + static_cast<ptrdiff_t>(k),
                                      now.begin() + static_cast<ptrdiff_t>(k + size));
        for (size_t i = 0; i < size; ++i) {
          group[i] = static_cast<float>(unrounded[i]);
          for (size_t j = i + 1; j < size; ++j) {
            unrounded[j] += (weights[k + i] - unrounded[i]) * v(k + i, k + j) / v(k + j, k + j);
          }
        }
        if (options.grid == GroupGrid::kMlx) {
          std::vector<uint32_t> codes(size);
          std::byte scale[4], bias[4];
          affine_encode(reinterpret_cast<const std::byte*>(group.data()), DType::kF32, 1,
                        static_cast<int64_t>(size), request.format, request.dtype, codes.data(),
                        scale, bias);
          to_f32(scale, request.dtype, 1, &rule.scale);
          to_f32(bias, request.dtype, 1, &rule.bias);
        } else {
          rule = search_group_ref(group, std::span(importance).subspan(k, size),
                                  request.format.bits, request.dtype);
        }
        writer.rule((row * request.cols + static_cast<int64_t>(k)) / static_cast<int64_t>(size),
                    rule);
      }
      const int code = nearest_code(now[k], rule, request.format.bits);
      writer.code(row * request.cols + static_cast<int64_t>(k), code);
      const double error = weights[k] - (double{rule.scale} * code + rule.bias);
      for (size_t j = k + 1; j < n; ++j) now[j] += error * v(k, j) / v(j, j);
    }
  }
  return writer.matrix;
}

double weighted_error_ref(const EncodeRequest& request, const EncodedMatrix& encoded,
                          const SecondMoment& moment, double damping) {
  const auto n = static_cast<size_t>(request.cols);
  const std::vector<float> decoded = decode(request, encoded);
  double mean = 0;
  for (const float d : moment.diagonal()) mean += d;
  mean /= static_cast<double>(n);
  // Pointers, not containers' operators: sanitized tests spend most of their time here.
  const float* values = moment.values().data();
  std::vector<double> errors(n);
  double total = 0;
  for (size_t row = 0; row < static_cast<size_t>(request.rows); ++row) {
    for (size_t j = 0; j < n; ++j) {
      errors[j] = double{decoded[row * n + j]} - request.weights[row * n + j];
    }
    const double* e = errors.data();
    for (size_t i = 0; i < n; ++i) {
      double product = damping * mean * e[i];
      for (size_t j = 0; j < n; ++j) product += double{values[i * n + j]} * e[j];
      total += e[i] * product;
    }
  }
  return total;
}

double held_loss_ref(const HeldOut& inputs, double damping) {
  const auto n = static_cast<size_t>(inputs.rest->cols());
  // U, with both orders reversed: lower, with ones on its diagonal.
  std::vector<double> l = reversed_cholesky(*inputs.rest, damping);
  for (size_t j = 0; j < n; ++j) {
    const double pivot = l[j * n + j];
    for (size_t i = j; i < n; ++i) l[i * n + j] /= pivot;
  }
  // Its inverse.
  std::vector<double> inverse(n * n);
  for (size_t i = 0; i < n; ++i) {
    inverse[i * n + i] = 1;
    for (size_t j = 0; j < i; ++j) {
      for (size_t k = j; k < i; ++k) inverse[i * n + j] -= l[i * n + k] * inverse[k * n + j];
    }
  }
  double loss = 0;
  double without = 0;
  const auto held = [&](size_t i, size_t j) {
    return double{inputs.held->values()[(n - 1 - i) * n + (n - 1 - j)]};
  };
  for (size_t r = 0; r < n; ++r) {
    without += held(r, r);
    for (size_t i = 0; i <= r; ++i) {
      for (size_t j = 0; j <= r; ++j) loss += inverse[r * n + i] * held(i, j) * inverse[r * n + j];
    }
  }
  return loss / without;
}

}  // namespace ram
