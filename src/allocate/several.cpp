// Lagrange prices: each option's loss is raised by price times cost, and the exact solver minimizes
// the sum within the bytes, which gives a lower bound for every price. The price at which a limit
// is just met gives the best bound; near it, single upgrades and exchanges of two units close most
// of the remaining gap.
#include "several.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <tuple>
#include <utility>

#include "ram/error.h"

#include "instance.h"
#include "relaxation.h"

namespace ram {
namespace {

using Clock = std::chrono::steady_clock;
using Prices = std::array<double, kOtherCosts>;

/// The exact solver's minimum is exact to 1e-12 of its value; rounding adds less than that.
constexpr double kBoundTolerance = 2e-12;

constexpr int kLineSteps = 60;   ///< prices tried for one cost while the others are fixed
constexpr int kRounds = 4;       ///< over several limited costs
constexpr size_t kStarts = 8;    ///< number of allocations that are improved by exchanges
constexpr size_t kMoves = 1500;  ///< number of single changes that exchanges combine
constexpr double kRaised[] = {1.0001, 1.001, 1.01, 1.05};  ///< factors of the best price

struct Found {
  std::vector<int> choice;
  Option total;
};

Option difference(const Option& from, const Option& to) {
  Option result{to.bytes - from.bytes, to.loss - from.loss, {}};
  for (size_t c = 0; c < kOtherCosts; ++c) result.other[c] = to.other[c] - from.other[c];
  return result;
}

void add(Option& sum, const Option& option) {
  sum.bytes += option.bytes;
  sum.loss += option.loss;
  for (size_t c = 0; c < kOtherCosts; ++c) sum.other[c] += option.other[c];
}

class SeveralSearch {
 public:
  SeveralSearch(const Knapsack& problem, const Limits& limits, Clock::time_point deadline)
      : problem_(problem), limits_(limits), deadline_(deadline) {}

  Allocation run();

 private:
  bool limited(size_t cost) const { return limits_.other[cost] != kNoLimit; }
  bool expired() const { return Clock::now() >= deadline_; }
  bool fits(const Option& total) const;
  double priced(const Option& option, const Prices& prices) const;
  Knapsack price(const Prices& prices) const;
  Option solve_at(const Prices& prices);
  bool find_least(size_t cost, Allocation& answer);
  void search_price(size_t cost);
  void keep(std::vector<int> choice, const Option& total);
  Found improve(Found found) const;
  void change(Found& found, size_t unit, int option) const;
  bool take_upgrade(Found& found) const;
  bool take_exchange(Found& found, double byte_price) const;

  const Knapsack& problem_;
  const Limits& limits_;
  const Clock::time_point deadline_;
  Prices prices_ = {};
  double bound_ = 0;
  std::vector<Found> starts_;  ///< those that fit, least loss first
};

bool SeveralSearch::fits(const Option& total) const {
  for (size_t c = 0; c < kOtherCosts; ++c) {
    if (total.other[c] > limits_.other[c]) return false;
  }
  return total.bytes <= limits_.bytes;
}

double SeveralSearch::priced(const Option& option, const Prices& prices) const {
  double loss = option.loss;
  for (size_t c = 0; c < kOtherCosts; ++c) {
    if (prices[c] > 0) loss += prices[c] * static_cast<double>(option.other[c]);
  }
  return loss;
}

Knapsack SeveralSearch::price(const Prices& prices) const {
  Knapsack result = problem_;
  for (std::vector<Option>& unit : result.units) {
    for (Option& option : unit) option.loss = priced(option, prices);
  }
  return result;
}

/// Adds a choice that fits to the best ones.
void SeveralSearch::keep(std::vector<int> choice, const Option& total) {
  if (!fits(total)) return;
  const auto less = [](const Option& a, const Option& b) {
    return a.loss != b.loss ? a.loss < b.loss : a.bytes < b.bytes;
  };
  const auto at = std::find_if(starts_.begin(), starts_.end(),
                               [&](const Found& other) { return !less(other.total, total); });
  if (at != starts_.end() && at->choice == choice) return;
  starts_.insert(at, {std::move(choice), total});
  if (starts_.size() > kStarts) starts_.pop_back();
}

/// Finds the best choice at these prices within the bytes: it gives a bound, and a start if it
/// fits.
/// @return its sums.
Option SeveralSearch::solve_at(const Prices& prices) {
  Allocation answer = solve_bytes(price(prices), limits_.bytes, deadline_);
  RAM_CHECK(answer.feasible);
  double spent = 0;
  for (size_t c = 0; c < kOtherCosts; ++c) {
    if (limited(c)) spent += prices[c] * static_cast<double>(limits_.other[c]);
  }
  const double margin = spent > 0 ? kBoundTolerance * (answer.lower_bound + spent) : 0;
  bound_ = std::max(bound_, answer.lower_bound - spent - margin);
  const Option total = audit_choice(problem_, answer.choice);
  keep(std::move(answer.choice), total);
  return total;
}

/// Finds the least of one cost within the bytes. @return whether it may be within its limit.
bool SeveralSearch::find_least(size_t cost, Allocation& answer) {
  Knapsack problem = problem_;
  for (std::vector<Option>& unit : problem.units) {
    for (Option& option : unit) option.loss = static_cast<double>(option.other[cost]);
  }
  Allocation least = solve_bytes(problem, limits_.bytes, deadline_);
  const Option total = audit_choice(problem_, least.choice);
  answer.least_other[cost] = total.other[cost];
  keep(std::move(least.choice), total);
  return least.lower_bound * (1 - kBoundTolerance) <= static_cast<double>(limits_.other[cost]);
}

/// Sets the price of one cost to where its limit is just met, with the other prices fixed: where
/// the lines of loss over price of the best choice that meets it and the best one that does not
/// intersect.
void SeveralSearch::search_price(size_t cost) {
  const auto limit = limits_.other[cost];
  const auto at = [&](double price) {
    prices_[cost] = price;
    const Option total = solve_at(prices_);
    Prices others = prices_;
    others[cost] = 0;
    return std::pair(priced(total, others), total.other[cost]);
  };
  auto [loss_over, cost_over] = at(0);
  if (cost_over <= limit) return;
  double low = 0;
  double high = std::max(loss_over, std::numeric_limits<double>::min()) /
                static_cast<double>(std::max<int64_t>(limit, 1));
  auto [loss_within, cost_within] = at(high);
  for (int step = 0; cost_within > limit && step < kLineSteps && !expired(); ++step) {
    low = high;
    loss_over = loss_within;
    cost_over = cost_within;
    high *= 4;
    std::tie(loss_within, cost_within) = at(high);
  }
  for (int step = 0; cost_within <= limit && step < kLineSteps && !expired(); ++step) {
    const double price = (loss_within - loss_over) / static_cast<double>(cost_over - cost_within);
    if (!(price > low && price < high)) break;
    const auto [loss, taken] = at(price);
    const double line = loss_over + price * static_cast<double>(cost_over);
    if (loss + price * static_cast<double>(taken) >= line * (1 - kBoundTolerance)) break;
    if (taken > limit) {
      low = price;
      loss_over = loss;
      cost_over = taken;
    } else {
      high = price;
      loss_within = loss;
      cost_within = taken;
    }
  }
}

void SeveralSearch::change(Found& found, size_t unit, int option) const {
  const std::vector<Option>& options = problem_.units[unit];
  add(found.total, difference(options[static_cast<size_t>(found.choice[unit])],
                              options[static_cast<size_t>(option)]));
  found.choice[unit] = option;
}

/// Makes the single change that lowers the loss most and fits. @return whether there was one.
bool SeveralSearch::take_upgrade(Found& found) const {
  double most = 0;
  size_t best_unit = 0;
  int best = -1;
  for (size_t u = 0; u < problem_.units.size(); ++u) {
    const std::vector<Option>& options = problem_.units[u];
    const Option& from = options[static_cast<size_t>(found.choice[u])];
    for (size_t o = 0; o < options.size(); ++o) {
      if (from.loss - options[o].loss <= most) continue;
      Option after = found.total;
      add(after, difference(from, options[o]));
      if (!fits(after)) continue;
      most = from.loss - options[o].loss;
      best_unit = u;
      best = static_cast<int>(o);
    }
  }
  if (best < 0) return false;
  change(found, best_unit, best);
  return true;
}

/// Makes the pair of changes, in two units, that lowers the loss most and fits, among the changes
/// of least reduced cost. @return whether there was one.
bool SeveralSearch::take_exchange(Found& found, double byte_price) const {
  struct Move {
    double reduced;
    size_t unit;
    int option;
    Option change;
  };
  std::vector<Move> moves;
  for (size_t u = 0; u < problem_.units.size(); ++u) {
    const std::vector<Option>& options = problem_.units[u];
    const Option& from = options[static_cast<size_t>(found.choice[u])];
    for (size_t o = 0; o < options.size(); ++o) {
      if (static_cast<int>(o) == found.choice[u]) continue;
      const Option change = difference(from, options[o]);
      const double reduced =
          priced(change, prices_) + byte_price * static_cast<double>(change.bytes);
      moves.push_back({reduced, u, static_cast<int>(o), change});
    }
  }
  if (moves.size() > kMoves) {
    std::nth_element(moves.begin(), moves.begin() + kMoves, moves.end(),
                     [](const Move& a, const Move& b) {
                       return std::pair(a.reduced, std::pair(a.unit, a.option)) <
                              std::pair(b.reduced, std::pair(b.unit, b.option));
                     });
    moves.resize(kMoves);
  }
  std::sort(moves.begin(), moves.end(), [](const Move& a, const Move& b) {
    return std::pair(a.change.loss, std::pair(a.unit, a.option)) <
           std::pair(b.change.loss, std::pair(b.unit, b.option));
  });
  // A difference that rounding alone could cause is not a gain.
  double most = 1e-14 * found.total.loss;
  const Move* best_first = nullptr;
  const Move* best_second = nullptr;
  for (size_t i = 0; i < moves.size() && 2 * moves[i].change.loss < -most; ++i) {
    for (size_t j = i + 1; j < moves.size(); ++j) {
      const double gain = -(moves[i].change.loss + moves[j].change.loss);
      if (gain <= most) break;
      if (moves[i].unit == moves[j].unit) continue;
      Option after = found.total;
      add(after, moves[i].change);
      add(after, moves[j].change);
      if (!fits(after)) continue;
      most = gain;
      best_first = &moves[i];
      best_second = &moves[j];
    }
  }
  if (best_first == nullptr) return false;
  change(found, best_first->unit, best_first->option);
  change(found, best_second->unit, best_second->option);
  return true;
}

Found SeveralSearch::improve(Found found) const {
  const Instance instance = make_instance(price(prices_));
  const Relaxation relaxed = relax(instance, instance.capacity(limits_.bytes));
  const double byte_price = relaxed.price / static_cast<double>(instance.step);
  do {
    while (!expired() && take_upgrade(found)) {
    }
    found.total = audit_choice(problem_, found.choice);
  } while (!expired() && take_exchange(found, byte_price));
  found.total = audit_choice(problem_, found.choice);
  return found;
}

Allocation SeveralSearch::run() {
  Allocation answer = solve_bytes(problem_, limits_.bytes, deadline_);
  if (!answer.feasible || fits(audit_choice(problem_, answer.choice))) {
    if (answer.feasible) {
      // The limits do not bind, so the proof for the bytes alone holds.
      for (size_t c = 0; c < kOtherCosts; ++c) {
        if (limited(c)) find_least(c, answer);
      }
    }
    return answer;
  }
  bound_ = answer.lower_bound;
  answer = Allocation{.least_bytes = answer.least_bytes};
  bool possible = true;
  size_t limited_costs = 0;
  for (size_t c = 0; c < kOtherCosts; ++c) {
    if (!limited(c)) continue;
    ++limited_costs;
    possible = find_least(c, answer) && possible;
  }
  answer.lower_bound = std::numeric_limits<double>::infinity();
  if (!possible) return answer;
  for (int round = 0; round < (limited_costs > 1 ? kRounds : 1); ++round) {
    for (size_t c = 0; c < kOtherCosts && !expired(); ++c) {
      if (limited(c)) search_price(c);
    }
  }
  const Prices best_prices = prices_;
  for (const double factor : kRaised) {
    if (expired()) break;
    Prices raised = best_prices;
    for (double& price : raised) price *= factor;
    solve_at(raised);
  }
  answer.lower_bound = bound_;
  if (starts_.empty()) return answer;
  Found best = starts_.front();
  for (const Found& start : starts_) {
    Found improved = improve(start);
    if (improved.total.loss < best.total.loss) best = std::move(improved);
  }
  answer.choice = std::move(best.choice);
  answer.bytes = best.total.bytes;
  answer.other = best.total.other;
  answer.loss = best.total.loss;
  answer.feasible = true;
  answer.optimal = bound_ >= answer.loss * (1 - kBoundTolerance);
  answer.lower_bound =
      answer.optimal ? answer.loss : std::min(bound_, std::nextafter(answer.loss, 0.0));
  return answer;
}

}  // namespace

Allocation solve_several(const Knapsack& problem, const Limits& limits,
                         std::chrono::steady_clock::time_point deadline) {
  return SeveralSearch(problem, limits, deadline).run();
}

}  // namespace ram
