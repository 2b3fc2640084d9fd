// One pass of the dynamic programme, group by group of the core. A state is a change of weight
// relative to the base and its reduced cost. At best, unused capacity is filled and excess weight
// is removed at the least rate of the remaining groups: that bounds every completion of the state.
#include "search.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace ram {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr uint32_t kNoNode = std::numeric_limits<uint32_t>::max();

/// When states must be dropped, every doubling of the distance from the full capacity counts as
/// this share of the incumbent's cost besides the bound: without it, ties would leave only states
/// far from any complete allocation. Tuned with bench/allocate_bench.cpp; it affects speed, never
/// the result of a pass that drops nothing.
constexpr double kDistanceShare = 0.01;

/// The most fruitless moves that are remembered; equal units have few different ones.
constexpr size_t kFruitless = 48;

struct State {
  int64_t weight = 0;
  int64_t cost = 0;
  uint32_t node = kNoNode;  ///< the last node of its history
};

struct Node {
  uint32_t parent = kNoNode;
  uint32_t item = 0;
};

/// Least cost per step of weight, up and down, of the groups from one on.
struct Rates {
  double up = kInfinity;
  double down = kInfinity;
};

/// The states of one move, in order of weight, being merged into the next list.
struct Head {
  const Move* move = nullptr;  ///< nullptr: the base's item remains
  size_t at = 0;               ///< index of the state it is made from
  State state;
};

class Search {
 public:
  Search(const Core& core, const SearchLimits& limits, Incumbent& incumbent)
      : core_(core), limits_(limits), incumbent_(incumbent), threshold_(cutoff()) {}

  int64_t run();

 private:
  double cutoff() const { return static_cast<double>(incumbent_.cost - limits_.tolerance); }
  double bound(const State& state, const Rates& rates) const;
  bool next_hopeful(Head& head, const Rates& rates) const;
  void compute_rates();
  bool is_fruitless(const Move& move) const;
  void extend(std::span<const Move> group, const Rates& rates);
  void note_fruitless();
  void keep(const Head& head);
  void offer(const State& state);
  void drop_worst(const Rates& rates);
  void give_up(const Rates& rates);
  void collect_nodes();
  void record_incumbent();

  const Core& core_;
  const SearchLimits& limits_;
  Incumbent& incumbent_;
  double threshold_;  ///< only states with a bound below this are kept
  std::vector<Rates> rates_;
  std::vector<State> states_;  ///< weight ascending, loss descending
  std::vector<State> next_;
  std::vector<Head> heads_;
  std::vector<const Move*> tried_;      ///< moves of the current group
  std::vector<const Move*> fruitless_;  ///< moves that add nothing to the current states
  std::vector<Node> nodes_;
  uint32_t best_node_ = kNoNode;
  bool improved_ = false;
  size_t collect_at_ = size_t{1} << 22;
  double dropped_bound_ = kInfinity;  ///< least bound of what was dropped
};

double Search::bound(const State& state, const Rates& rates) const {
  const auto free = static_cast<double>(core_.residual - state.weight);
  const auto cost = static_cast<double>(state.cost);
  if (free >= 0) return cost + free * std::min(core_.price, rates.up);
  return cost - free * rates.down;
}

bool Search::next_hopeful(Head& head, const Rates& rates) const {
  for (; head.at < states_.size(); ++head.at) {
    head.state = states_[head.at];
    if (head.move != nullptr) {
      head.state.weight += head.move->weight;
      head.state.cost += head.move->cost;
    }
    if (bound(head.state, rates) < threshold_) return true;
  }
  return false;
}

void Search::compute_rates() {
  rates_.assign(core_.groups() + 1, Rates{});
  for (size_t g = core_.groups(); g-- > 0;) {
    Rates rates = rates_[g + 1];
    for (const Move& move : core_.group(g)) {
      if (static_cast<double>(move.cost) >= threshold_) continue;
      double& least = move.weight > 0 ? rates.up : rates.down;
      const double weight = std::fabs(static_cast<double>(move.weight));
      least = std::min(least, static_cast<double>(move.cost) / weight);
    }
    rates_[g] = rates;
  }
}

void Search::offer(const State& state) {
  const int64_t free = core_.residual - state.weight;
  if (free < 0) return;
  const double unused = core_.price * static_cast<double>(free);
  if (static_cast<double>(state.cost) + unused > static_cast<double>(incumbent_.cost)) return;
  const int64_t cost = state.cost + std::llround(unused);
  if (cost > incumbent_.cost) return;
  if (cost == incumbent_.cost && state.weight >= incumbent_.weight) return;
  incumbent_.cost = cost;
  incumbent_.weight = state.weight;
  best_node_ = state.node;
  improved_ = true;
  threshold_ = cutoff();
}

void Search::keep(const Head& head) {
  State state = head.state;
  if (!next_.empty()) {
    // The last state kept is no heavier, so it dominates this one unless this one's loss is lower.
    const State& last = next_.back();
    const double saved = core_.price * static_cast<double>(state.weight - last.weight);
    if (static_cast<double>(state.cost - last.cost) >= saved) return;
  }
  if (head.move != nullptr) {
    nodes_.push_back({state.node, head.move->item});
    state.node = static_cast<uint32_t>(nodes_.size() - 1);
  }
  next_.push_back(state);
  offer(state);
}

/// A move is fruitless if a fruitless move has the same weight and no higher cost: its states would
/// be dominated or pruned like the other's.
bool Search::is_fruitless(const Move& move) const {
  return std::any_of(fruitless_.begin(), fruitless_.end(), [&](const Move* other) {
    return other->weight == move.weight && other->cost <= move.cost;
  });
}

void Search::extend(std::span<const Move> group, const Rates& rates) {
  heads_.clear();
  tried_.clear();
  const auto start = [&](const Move* move) {
    Head head{move, 0, {}};
    if (next_hopeful(head, rates)) heads_.push_back(head);
  };
  for (const Move& move : group) {
    if (static_cast<double>(move.cost) >= threshold_ || is_fruitless(move)) continue;
    tried_.push_back(&move);
    start(&move);
  }
  if (tried_.empty()) return;
  start(nullptr);
  next_.clear();
  while (!heads_.empty()) {
    size_t least = 0;
    for (size_t i = 1; i < heads_.size(); ++i) {
      const State& a = heads_[i].state;
      const State& b = heads_[least].state;
      if (a.weight < b.weight || (a.weight == b.weight && a.cost < b.cost)) least = i;
    }
    keep(heads_[least]);
    ++heads_[least].at;
    if (!next_hopeful(heads_[least], rates)) {
      heads_.erase(heads_.begin() + static_cast<std::ptrdiff_t>(least));
    }
  }
  states_.swap(next_);
  if (states_.size() > limits_.states) drop_worst(rates);
  note_fruitless();
}

/// Remembers the group's moves as fruitless if no state is new (next_ still holds the previous
/// states).
void Search::note_fruitless() {
  const auto before = [](const State& a, const State& b) {
    return a.weight != b.weight ? a.weight < b.weight : a.cost < b.cost;
  };
  if (!std::includes(next_.begin(), next_.end(), states_.begin(), states_.end(), before)) {
    fruitless_.clear();
    return;
  }
  if (fruitless_.size() + tried_.size() > kFruitless) fruitless_.clear();
  if (tried_.size() <= kFruitless) {
    fruitless_.insert(fruitless_.end(), tried_.begin(), tried_.end());
  }
}

void Search::drop_worst(const Rates& rates) {
  std::vector<double> ranks(states_.size());
  const double share = kDistanceShare * static_cast<double>(incumbent_.cost);
  for (size_t i = 0; i < states_.size(); ++i) {
    const auto distance = static_cast<double>(std::abs(core_.residual - states_[i].weight));
    ranks[i] = bound(states_[i], rates) + share * std::log2(1 + distance);
  }
  std::vector<double> order = ranks;
  const auto middle = order.begin() + static_cast<std::ptrdiff_t>(limits_.states);
  std::nth_element(order.begin(), middle, order.end());
  const double limit = *middle;
  const auto better =
      std::count_if(ranks.begin(), ranks.end(), [limit](double rank) { return rank < limit; });
  size_t ties = limits_.states - static_cast<size_t>(better);
  size_t kept = 0;
  for (size_t i = 0; i < states_.size(); ++i) {
    const bool tie = ranks[i] == limit && ties > 0;
    if (tie) --ties;
    if (tie || ranks[i] < limit) {
      states_[kept++] = states_[i];
    } else {
      dropped_bound_ = std::min(dropped_bound_, bound(states_[i], rates));
    }
  }
  states_.resize(kept);
}

void Search::give_up(const Rates& rates) {
  for (const State& state : states_) {
    dropped_bound_ = std::min(dropped_bound_, bound(state, rates));
  }
  states_.clear();
}

/// Drops history nodes that no state uses any more.
void Search::collect_nodes() {
  std::vector<uint32_t> moved(nodes_.size(), kNoNode);
  const auto mark = [&](uint32_t node) {
    for (; node != kNoNode && moved[node] == kNoNode; node = nodes_[node].parent) moved[node] = 0;
  };
  for (const State& state : states_) mark(state.node);
  mark(best_node_);
  uint32_t count = 0;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    if (moved[i] == kNoNode) continue;
    Node node = nodes_[i];
    if (node.parent != kNoNode) node.parent = moved[node.parent];
    moved[i] = count;
    nodes_[count++] = node;
  }
  nodes_.resize(count);
  for (State& state : states_) {
    if (state.node != kNoNode) state.node = moved[state.node];
  }
  if (best_node_ != kNoNode) best_node_ = moved[best_node_];
  collect_at_ = std::max(collect_at_, 2 * nodes_.size());
}

void Search::record_incumbent() {
  if (!improved_) return;
  incumbent_.items.clear();
  for (uint32_t node = best_node_; node != kNoNode; node = nodes_[node].parent) {
    incumbent_.items.push_back(nodes_[node].item);
  }
}

int64_t Search::run() {
  compute_rates();
  states_.push_back({});
  for (size_t g = 0; g < core_.groups() && !states_.empty(); ++g) {
    if (std::chrono::steady_clock::now() >= limits_.deadline) {
      give_up(rates_[g]);
      break;
    }
    extend(core_.group(g), rates_[g + 1]);
    if (nodes_.size() > collect_at_) collect_nodes();
  }
  record_incumbent();
  if (dropped_bound_ >= cutoff()) return incumbent_.cost;
  return static_cast<int64_t>(std::floor(dropped_bound_));
}

}  // namespace

int64_t search_core(const Core& core, const SearchLimits& limits, Incumbent& incumbent) {
  return Search(core, limits, incumbent).run();
}

}  // namespace ram
