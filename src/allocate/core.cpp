// Reduced costs of all options; which of them are undecided, and the best order to decide them.
#include "core.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <utility>

namespace ram {
namespace {

/// Below this (16 units that can move both ways at no cost), two searches cost more than one.
constexpr double kWorthSplitting = 1024;

/// A move counts as large if more than this many contested moves are needed to compensate it.
constexpr int64_t kChain = 64;
constexpr int64_t kFewMoves = 8;

double rate(const Move& move) {
  return static_cast<double>(move.cost) / std::fabs(static_cast<double>(move.weight));
}

/// Groups `moves` (unit by unit) into core.first: those with a move beyond `large` weight first,
/// then by least rate, ties in order of units.
void set_groups(Core& core, const std::vector<Move>& moves, int64_t large) {
  struct Group {
    double rate;
    uint32_t begin;
    uint32_t end;
  };
  std::vector<Group> groups;
  for (uint32_t i = 0; i < moves.size(); ++i) {
    if (i == 0 || moves[i].unit != moves[i - 1].unit) groups.push_back({rate(moves[i]), i, i});
    const bool first = std::abs(moves[i].weight) > large;
    groups.back().rate = std::min(groups.back().rate, first ? -1 : rate(moves[i]));
    groups.back().end = i + 1;
  }
  std::stable_sort(groups.begin(), groups.end(),
                   [](const Group& a, const Group& b) { return a.rate < b.rate; });
  core.moves.clear();
  core.moves.reserve(moves.size());
  core.first.assign(1, 0);
  core.first.reserve(groups.size() + 1);
  for (const Group& group : groups) {
    core.moves.insert(core.moves.end(), moves.begin() + group.begin, moves.begin() + group.end);
    core.first.push_back(static_cast<uint32_t>(core.moves.size()));
  }
}

/// The weight by which most units can move both ways, cheap moves counting most; 0 if none do.
int64_t contested_weight(const Core& core, int64_t gap) {
  std::map<int64_t, std::pair<double, double>> chances;
  const auto whole = static_cast<double>(std::max<int64_t>(gap, 1));
  for (const Move& move : core.moves) {
    if (move.cost >= gap) continue;
    auto& [up, down] = chances[std::abs(move.weight)];
    (move.weight > 0 ? up : down) += whole / (static_cast<double>(move.cost) + whole / 64);
  }
  double most = kWorthSplitting;
  int64_t weight = 0;
  for (const auto& [step, chance] : chances) {
    const double both = std::min(chance.first, chance.second);
    if (both > most) {
      most = both;
      weight = step;
    }
  }
  return weight;
}

/// Moves beyond this weight are decided first: otherwise each would start a chain of compensating
/// contested moves. Only if there are few such moves; otherwise there is no limit.
int64_t large_weight(const Core& core, int64_t contested) {
  constexpr int64_t kNone = std::numeric_limits<int64_t>::max();
  if (contested > kNone / kChain) return kNone;
  const auto count = std::count_if(core.moves.begin(), core.moves.end(), [&](const Move& move) {
    return std::abs(move.weight) > kChain * contested;
  });
  return count <= kFewMoves ? kChain * contested : kNone;
}

Core without_weight(const Core& core, int64_t weight) {
  std::vector<Move> moves;
  moves.reserve(core.moves.size());
  for (const Move& move : core.moves) {
    if (move.weight != weight) moves.push_back(move);
  }
  Core rest;
  rest.price = core.price;
  rest.residual = core.residual;
  set_groups(rest, moves, large_weight(core, std::abs(weight)));
  return rest;
}

}  // namespace

Core make_core(const Instance& instance, const Relaxation& relaxed, double gap, double resolution) {
  std::vector<Move> moves;
  for (uint32_t u = 0; u < instance.units(); ++u) {
    const uint32_t base_item = relaxed.base[u];
    const Item& base = instance.items[base_item];
    for (uint32_t i = instance.first[u]; i < instance.first[u + 1]; ++i) {
      const Item& item = instance.items[i];
      const double cost = std::max(0.0, reduced_cost(base, item, relaxed.price));
      if (i == base_item || cost > gap) continue;
      moves.push_back({item.weight - base.weight, std::llround(cost / resolution), u, i});
    }
  }
  Core core;
  core.price = relaxed.price / resolution;
  core.residual = relaxed.residual;
  set_groups(core, moves, std::numeric_limits<int64_t>::max());
  return core;
}

std::vector<Core> split_core(Core core, int64_t gap) {
  std::vector<Core> parts;
  const int64_t weight = contested_weight(core, gap);
  if (weight == 0) {
    parts.push_back(std::move(core));
  } else {
    parts.push_back(without_weight(core, -weight));
    parts.push_back(without_weight(core, weight));
  }
  return parts;
}

}  // namespace ram
