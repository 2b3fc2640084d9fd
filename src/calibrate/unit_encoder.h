// Encodes units part by part, and adds up what each part loses.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "ram/calibrate.h"
#include "ram/checkpoint.h"
#include "ram/encoder.h"
#include "ram/thread.h"

namespace ram {

class UnitEncoder {
 public:
  /// All must outlive it. @param formats one per unit.
  UnitEncoder(const Checkpoint& checkpoint, std::span<const UnitFormat> formats,
              const CompressOptions& options, ThreadPool& pool);

  /// The sums over an encoded part.
  struct PartSums {
    double squared_error = 0;
    double sum_squares = 0;
    /// Squared error of the outputs on the gathered inputs, and that of independent noise as large
    /// as the weights.
    double error = 0;
    double noise = 0;
  };

  /// A unit whose parts are only partly encoded.
  struct Unfinished {
    CompressedUnit unit;
    std::vector<PartSums> sums;  ///< by part
    int64_t parts_left = 0;
  };

  /// How a part is encoded and how its error is weighted; null: unknown.
  struct Inputs {
    const SecondMoment* moment = nullptr;
    const FeedbackEncoder* feedback = nullptr;
    const SecondMoment* gathered = nullptr;
    const Drift* drift = nullptr;
  };

  Unfinished begin(int unit) const;

  /// Encodes a block of rows at a time: rows are encoded independently. Called from several threads
  /// for distinct parts. @throws Error{kInterrupted}; as reading the source
  void encode(Unfinished& to, int part, const Inputs& inputs);

  /// Adds up the errors of the parts and moves the unit out.
  static CompressedUnit finish(Unfinished& done);

  /// Calls work(part) for parts of a unit, in parallel if there are enough of them.
  void for_parts(std::span<const int> parts, const std::function<void(int)>& work);

  /// @pre the unit has a format.
  AffineFormat format_of(int unit) const { return *formats_[static_cast<size_t>(unit)]; }

 private:
  const Checkpoint& checkpoint_;
  std::span<const UnitFormat> formats_;
  const CompressOptions& options_;
  ThreadPool& pool_;
};

}  // namespace ram
