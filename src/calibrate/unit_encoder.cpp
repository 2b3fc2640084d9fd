#include "unit_encoder.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "ram/cancellation.h"
#include "ram/size.h"

#include "units.h"

namespace ram {
namespace {

// Rows of a matrix that one thread reads at a time.
constexpr int64_t kReadRows = 256;
// The share of the drift that is compensated: compensating all of it overfits the text
// (docs/encoders.md).
constexpr double kAimShare = 0.5;

}  // namespace

UnitEncoder::UnitEncoder(const Checkpoint& checkpoint, std::span<const UnitFormat> formats,
                         const CompressOptions& options, ThreadPool& pool)
    : checkpoint_(checkpoint), formats_(formats), options_(options), pool_(pool) {}

UnitEncoder::Unfinished UnitEncoder::begin(int unit) const {
  const auto parts = checkpoint_.units[static_cast<size_t>(unit)].parts.size();
  Unfinished result;
  result.unit.unit = unit;
  result.unit.parts.resize(parts);
  result.sums.resize(parts);
  result.parts_left = static_cast<int64_t>(parts);
  return result;
}

void UnitEncoder::encode(Unfinished& to, int part, const Inputs& inputs) {
  const Unit& use = checkpoint_.units[static_cast<size_t>(to.unit.unit)];
  EncodedMatrix& encoded = to.unit.parts[static_cast<size_t>(part)];
  PartSums& sums = to.sums[static_cast<size_t>(part)];
  std::vector<float> importance;
  if (inputs.moment != nullptr && inputs.moment->tokens() > 0) {
    importance = inputs.moment->diagonal();
  }
  std::vector<float> weights;
  std::vector<float> aimed;
  const int64_t step = encoded_rows(use.rows, use.cols);
  const int64_t blocks = ceil_div(step, kReadRows);
  for (int64_t first = 0; first < use.rows; first += step) {
    check_interrupted();
    const int64_t rows = std::min(step, use.rows - first);
    weights.resize(static_cast<size_t>(rows * use.cols));
    pool_.run(blocks, [&](int64_t block, int) {
      const int64_t row = block * kReadRows;
      if (row >= rows) return;
      read_rows(checkpoint_, to.unit.unit, part, first + row, std::min(kReadRows, rows - row),
                options_.dtype, weights.data() + row * use.cols);
    });
    EncodeRequest request{.weights = weights,
                          .rows = rows,
                          .cols = use.cols,
                          .format = format_of(to.unit.unit),
                          .dtype = options_.dtype};
    const EncodeRequest original = request;
    if (inputs.feedback != nullptr && inputs.drift != nullptr) {
      aimed = inputs.feedback->aim(weights, rows, *inputs.drift, kAimShare, pool_);
      request.weights = aimed;
    }
    const EncodedMatrix block = inputs.feedback != nullptr ? inputs.feedback->encode(request, pool_)
                                : options_.encoder == Encoder::kMlx
                                    ? mlx_encode(request, pool_)
                                    : search_encode(request, importance, pool_);
    sums.squared_error += squared_error(original, block, {});
    for (const float weight : weights) sums.sum_squares += double{weight} * double{weight};
    if (inputs.gathered != nullptr) {  // compensated drift is not an error
      sums.error += weighted_error(request, block, *inputs.gathered, pool_);
    }
    encoded.codes.insert(encoded.codes.end(), block.codes.begin(), block.codes.end());
    encoded.scales.insert(encoded.scales.end(), block.scales.begin(), block.scales.end());
    encoded.biases.insert(encoded.biases.end(), block.biases.begin(), block.biases.end());
  }
  if (inputs.gathered == nullptr) return;
  double trace = 0;
  for (const float value : inputs.gathered->diagonal()) trace += double{value};
  sums.noise = sums.sum_squares * trace / static_cast<double>(use.cols);
}

CompressedUnit UnitEncoder::finish(Unfinished& done) {
  CompressedUnit& unit = done.unit;
  double error = 0;
  double noise = 0;
  for (const PartSums& part : done.sums) {
    unit.squared_error += part.squared_error;
    unit.sum_squares += part.sum_squares;
    error += part.error;
    noise += part.noise;
  }
  unit.output_error =
      noise > 0 ? error / noise : unit.squared_error / std::max(unit.sum_squares, 1e-300);
  return std::move(unit);
}

void UnitEncoder::for_parts(std::span<const int> parts, const std::function<void(int)>& work) {
  const auto one = [&](int64_t i, int) { work(parts[static_cast<size_t>(i)]); };
  if (std::ssize(parts) >= pool_.threads()) {
    pool_.run(std::ssize(parts), one);
  } else {
    for (int64_t i = 0; i < std::ssize(parts); ++i) one(i, 0);
  }
}

UnitRows decoded_rows(const Checkpoint& checkpoint, CompressedUnit unit, AffineFormat format,
                      DType dtype) {
  const int64_t cols = checkpoint.units.at(static_cast<size_t>(unit.unit)).cols;
  const auto held = std::make_shared<const CompressedUnit>(std::move(unit));
  return [=](int part, int64_t first, int64_t count, float* out) {
    const EncodedMatrix& from = held->parts.at(static_cast<size_t>(part));
    const int64_t scale_row = scale_bytes(cols, format, dtype);
    affine_decode(from.codes.data() + first * code_words(cols, format),
                  from.scales.data() + first * scale_row, from.biases.data() + first * scale_row,
                  dtype, count, cols, format, out);
  };
}

}  // namespace ram
