// How a tensor is split into blocks, and the work on one block.
#include "tensor_job.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <span>
#include <string_view>

#include "ram/error.h"
#include "ram/hash.h"
#include "ram/quant.h"
#include "ram/size.h"

namespace ram {
namespace {

constexpr std::align_val_t kAlignment{DirectReader::kAlignment};

// "[3, 17]": the position of an element in a tensor of this shape.
std::string position(const std::vector<int64_t>& shape, int64_t element) {
  std::string text;
  for (size_t i = shape.size(); i-- > 0;) {
    text = fmt::format("{}{}{}", element % shape[i], text.empty() ? "" : ", ", text);
    element /= shape[i];
  }
  return "[" + text + "]";
}

}  // namespace

void BlockBuffer::Free::operator()(std::byte* memory) const {
  ::operator delete[](memory, kAlignment);
}

std::unique_ptr<std::byte[], BlockBuffer::Free> BlockBuffer::allocate(int64_t bytes) {
  const auto size = static_cast<size_t>(bytes);
  return std::unique_ptr<std::byte[], Free>(
      static_cast<std::byte*>(::operator new[](size, kAlignment)));
}

std::span<std::byte> BlockBuffer::room(int64_t bytes) {
  bytes = std::max(bytes, kChunkBytes + DirectReader::kSlackBytes);
  if (bytes > bytes_) {
    memory_ = allocate(bytes);
    bytes_ = bytes;
  }
  return {memory_.get(), static_cast<size_t>(bytes_)};
}

RowReading row_reading(const Part& part, int64_t cols) {
  return is_rows(part, cols) ? RowReading::kWithChunks : RowReading::kByRows;
}

struct TensorJob::Work {
  explicit Work(const TensorJob& job)
      : hashes(static_cast<size_t>(job.chunks_)),
        sums(static_cast<size_t>(job.sums_)),
        remaining(job.blocks()) {}

  std::vector<std::string> hashes;  // per chunk
  std::vector<Distortion> sums;
  std::atomic<int64_t> remaining;
};

TensorJob::TensorJob(const Checkpoint& checkpoint, const TensorUse& use,
                     const AnalyzeOptions& options, bool measure, RowReading least)
    : checkpoint_(checkpoint),
      use_(use),
      options_(options),
      source_(checkpoint.tensors.at(static_cast<size_t>(use.tensor))),
      measure_(measure) {
  chunks_ = std::max<int64_t>(1, ceil_div(source_.info.bytes(), kChunkBytes));
  if (!measure) return;
  places_.resize(use.parts.size());
  for (size_t part = 0; part < places_.size(); ++part) add_place(part, least);
}

TensorJob::~TensorJob() = default;

const Unit& TensorJob::unit_of(size_t place) const {
  return checkpoint_.units[static_cast<size_t>(use_.parts[place].unit)];
}

void TensorJob::add_place(size_t part, RowReading least) {
  const Unit& unit = unit_of(part);
  const Part& from = unit.parts[static_cast<size_t>(use_.parts[part].part)];
  const int64_t row_bytes = unit.cols * dtype_bytes(unit.dtype);
  Place& place = places_[part];
  place.reading = std::max(least, row_reading(from, unit.cols));
  place.first_sum = sums_;
  if (unit.part_weights() == 0) return;
  if (place.reading == RowReading::kWithChunks) {
    place.begin = from.view.first * dtype_bytes(unit.dtype);
    place.end = place.begin + unit.rows * row_bytes;
    RAM_CHECK(unit.dtype == source_.info.dtype && place.end <= source_.info.bytes());
    place.sums = (place.end - 1) / kChunkBytes - place.begin / kChunkBytes + 1;
  } else {
    place.rows_per_block = std::max<int64_t>(1, kChunkBytes / row_bytes);
    place.first_block = blocks();
    place.sums = ceil_div(unit.rows, place.rows_per_block);
    row_blocks_ += place.sums;
  }
  sums_ += place.sums;
}

int64_t TensorJob::chunk_size(int64_t chunk) const {
  return std::min(kChunkBytes, source_.info.bytes() - chunk * kChunkBytes);
}

TensorJob::RowBlock TensorJob::row_block(int64_t block) const {
  RowBlock found;
  for (size_t p = 0; p < places_.size(); ++p) {
    const Place& place = places_[p];
    const int64_t index = block - place.first_block;
    if (place.reading != RowReading::kByRows || index < 0 || index >= place.sums) continue;
    found.place = p;
    found.first_row = index * place.rows_per_block;
    found.rows = std::min(place.rows_per_block, unit_of(p).rows - found.first_row);
    found.sum = place.first_sum + index;
  }
  RAM_CHECK(found.rows > 0);
  return found;
}

int64_t TensorJob::block_bytes(int64_t block) const {
  if (block < chunks_) return chunk_size(block);
  const RowBlock rows = row_block(block);
  const Unit& unit = unit_of(rows.place);
  return rows.rows * unit.cols * dtype_bytes(unit.dtype);
}

void TensorJob::prefetch(int64_t block) const {
  if (block < chunks_) {
    const InputFile& file = checkpoint_.files[static_cast<size_t>(source_.file)];
    file.prefetch(source_.info.begin + block * kChunkBytes, chunk_size(block));
    return;
  }
  const RowBlock rows = row_block(block);
  checkpoint_.prefetch_rows(unit_of(rows.place), use_.parts[rows.place].part, rows.first_row,
                            rows.rows);
}

void TensorJob::read(int64_t block, BlockBuffer& buffer,
                     std::span<const DirectReader> direct) const {
  if (block >= chunks_) {
    const RowBlock rows = row_block(block);
    std::byte* weights = buffer.room(block_bytes(block)).data();
    checkpoint_.read_rows(unit_of(rows.place), use_.parts[rows.place].part, rows.first_row,
                          rows.rows, weights);
    buffer.content = weights;
    return;
  }
  const int64_t begin = block * kChunkBytes;
  const int64_t size = chunk_size(block);
  const std::span<std::byte> room = buffer.room(size);
  if (direct.empty() || row_blocks_ > 0) {  // rows are read again, which is faster from the cache
    checkpoint_.read_tensor(use_.tensor, begin, room.first(static_cast<size_t>(size)));
    buffer.content = room.data();
  } else {
    const DirectReader& file = direct[static_cast<size_t>(source_.file)];
    buffer.content = file.read(source_.info.begin + begin, size, room);
  }
}

bool TensorJob::run(int64_t block, const BlockBuffer& buffer) {
  std::call_once(begun_, [this] { work_ = std::make_unique<Work>(*this); });
  if (block < chunks_) {
    run_chunk(block, buffer.content);
  } else {
    run_rows(block, buffer.content);
  }
  return work_->remaining.fetch_sub(1) == 1;
}

void TensorJob::run_chunk(int64_t chunk, const std::byte* bytes) {
  const int64_t begin = chunk * kChunkBytes;
  const int64_t size = chunk_size(chunk);
  if (size == 0) return;
  const std::string_view text(reinterpret_cast<const char*>(bytes), static_cast<size_t>(size));
  work_->hashes[static_cast<size_t>(chunk)] = hash_text(text);
  if (!measure_ || !is_weight_dtype(source_.info.dtype)) return;

  const int64_t element = dtype_bytes(source_.info.dtype);
  check_finite(bytes, source_.info.dtype, begin / element, size / element);
  for (size_t p = 0; p < places_.size(); ++p) {
    const Place& place = places_[p];
    const int64_t from = std::max(begin, place.begin);
    const int64_t to = std::min(begin + size, place.end);
    if (from >= to) continue;
    const int64_t sum = place.first_sum + chunk - place.begin / kChunkBytes;
    work_->sums[static_cast<size_t>(sum)] =
        measure(p, bytes + (from - begin), (to - from) / element);
  }
}

void TensorJob::run_rows(int64_t block, const std::byte* weights) {
  const RowBlock rows = row_block(block);
  check_rows_finite(rows, weights);
  work_->sums[static_cast<size_t>(rows.sum)] =
      measure(rows.place, weights, rows.rows * unit_of(rows.place).cols);
}

// A run of whole groups: formats have no rows, only groups, and no group crosses the end of a row.
Distortion TensorJob::measure(size_t place, const std::byte* weights, int64_t count) const {
  const Unit& unit = unit_of(place);
  return measure_distortion(weights, unit.dtype, 1, count, measured_formats(unit), options_.dtype,
                            options_.encoder);
}

/// Decoded values, and those in other tensors, are not covered by the check of the chunks.
void TensorJob::check_rows_finite(const RowBlock& rows, const std::byte* weights) const {
  const Unit& unit = unit_of(rows.place);
  const Part& part = unit.parts[static_cast<size_t>(use_.parts[rows.place].part)];
  if (part.storage == StorageFormat::kPlain && part.below.empty()) return;
  const int64_t found = find_non_finite(weights, unit.dtype, rows.rows * unit.cols, options_.dtype);
  if (found < 0) return;
  float value = 0;
  to_f32(weights + found * dtype_bytes(unit.dtype), unit.dtype, 1, &value);
  fail(Code::kCorrupt,
       "{}: row {}, column {} of part {}, which tensor {} holds, is {} as {}: weights must be "
       "finite; fetch the file again ({})",
       unit.name, rows.first_row + found / unit.cols, found % unit.cols,
       use_.parts[rows.place].part, source_.info.name, value, weight_dtype_name(options_.dtype),
       checkpoint_.files[static_cast<size_t>(source_.file)].path().string());
}

void TensorJob::check_finite(const std::byte* weights, DType source, int64_t first,
                             int64_t count) const {
  const int64_t found = find_non_finite(weights, source, count, options_.dtype);
  if (found < 0) return;
  float value = 0;
  to_f32(weights + found * dtype_bytes(source), source, 1, &value);
  const std::string where = position(source_.info.shape, first + found);
  const std::string file = checkpoint_.files[static_cast<size_t>(source_.file)].path().string();
  if (std::isfinite(value)) {
    // float32's largest values round to infinity in bf16 too.
    const char* larger = options_.dtype == DType::kF16 ? "bf16 or f32" : "f32";
    fail(Code::kCorrupt, "{}{} = {}: too large for {}; use --dtype {} ({})", source_.info.name,
         where, value, weight_dtype_name(options_.dtype), larger, file);
  }
  fail(Code::kCorrupt, "{}{} = {}: weights must be finite; fetch the file again ({})",
       source_.info.name, where, value, file);
}

TensorResult TensorJob::take_result() {
  RAM_CHECK(work_ != nullptr && work_->remaining == 0);
  TensorResult result;
  std::string digests;
  for (const std::string& hash : work_->hashes) digests += hash;
  result.hash = hash_text(digests);
  for (size_t p = 0; p < places_.size(); ++p) {
    PartCurve curve{.formats = measured_formats(unit_of(p)), .distortion = {}};
    const auto first = static_cast<size_t>(places_[p].first_sum);
    for (const Distortion& sum :
         std::span(work_->sums).subspan(first, static_cast<size_t>(places_[p].sums))) {
      curve.distortion += sum;
    }
    result.parts.push_back(curve);
  }
  work_.reset();
  return result;
}

}  // namespace ram
