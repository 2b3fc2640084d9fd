// The exact solver against HiGHS: tests/vectors/knapsack.txt, made by
// tests/peers/knapsack_vs_scipy.py, and any other such file named by RAM_KNAPSACK_VECTORS.
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include <gtest/gtest.h>

#include "ram/allocate.h"

namespace ram {
namespace {

/// Solves all problems of a file; returns how many there were.
int replay(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file.is_open()) << path;
  std::string line;
  int problems = 0;
  while (std::getline(file, line)) {
    std::istringstream header(line);
    std::string word;
    std::string name;
    size_t units = 0;
    int64_t budget = 0;
    double loss = 0;
    header >> word >> name >> units >> budget >> loss;
    EXPECT_TRUE(header && word == "problem") << line;
    if (!header) break;
    SCOPED_TRACE(name);
    Knapsack problem;
    problem.units.resize(units);
    for (auto& unit : problem.units) {
      std::getline(file, line);
      std::istringstream row(line);
      for (Option option; row >> option.bytes >> option.loss;) unit.push_back(option);
    }
    const Allocation answer = solve_knapsack(problem, budget);
    EXPECT_TRUE(answer.optimal);
    EXPECT_LE(answer.bytes, budget);
    EXPECT_NEAR(answer.loss, loss, 1e-9 * loss);
    ++problems;
  }
  return problems;
}

TEST(KnapsackVectors, equal_what_another_solver_found) {
  EXPECT_EQ(replay(RAM_SOURCE_DIR "/tests/vectors/knapsack.txt"), 20);
}

TEST(KnapsackVectors, equal_what_another_solver_found_elsewhere) {
  const char* path = std::getenv("RAM_KNAPSACK_VECTORS");
  if (path == nullptr) GTEST_SKIP() << "RAM_KNAPSACK_VECTORS names no file";
  EXPECT_GT(replay(path), 0);
}

}  // namespace
}  // namespace ram
