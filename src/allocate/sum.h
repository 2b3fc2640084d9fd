// A sum whose significant digits do not depend on the order of its terms: plans of equal loss must
// compare equal, whichever units have which options.
#pragma once

#include <cmath>

namespace ram {

/// Compensated sum; the error is about one rounding of the result.
/// @source A. Neumaier, Rundungsfehleranalyse einiger Verfahren zur Summation, ZAMM 54 (1974)
class CompensatedSum {
 public:
  void add(double term) {
    const double next = sum_ + term;
    lost_ += std::fabs(sum_) >= std::fabs(term) ? (sum_ - next) + term : (term - next) + sum_;
    sum_ = next;
  }
  double value() const { return sum_ + lost_; }

 private:
  double sum_ = 0;
  double lost_ = 0;
};

}  // namespace ram
