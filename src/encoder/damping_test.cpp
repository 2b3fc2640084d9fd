// The choice of damping, against the exact loss on the inputs that were held out.
#include "damping.h"

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "ram/encoder.h"
#include "ram/thread.h"

#include "reference.h"
#include "test_support.h"

namespace ram {
namespace {

constexpr int64_t kDampedCols = 96;

/// Two moments of inputs of one kind.
struct Halves {
  Halves(int64_t rest_tokens, int64_t held_tokens, ThreadPool& pool)
      : rest(correlated_moment(kDampedCols, rest_tokens, 21, pool)),
        held(correlated_moment(kDampedCols, held_tokens, 22, pool)) {}
  HeldOut inputs() const { return {.rest = &rest, .held = &held}; }
  SecondMoment rest;
  SecondMoment held;
};

TEST(Damping, TheHeldLossIsTheTrace) {
  ThreadPool pool(2);
  for (const int64_t tokens : {64, 400}) {
    const Halves halves(tokens, 200, pool);
    for (const double damping : kDampings) {
      const double exact = held_loss_ref(halves.inputs(), damping);
      EXPECT_NEAR(held_loss(halves.inputs(), damping, pool), exact, 0.06 * exact)
          << tokens << " tokens, damping " << damping;
    }
  }
}

TEST(Damping, IsTheOneThatLosesLeast) {
  ThreadPool pool(1);
  for (const int64_t tokens : {40, 64, 100, 200, 400, 2000}) {
    const Halves halves(tokens, 400, pool);
    const HeldOut inputs = halves.inputs();
    double least = std::numeric_limits<double>::infinity();
    for (const double damping : kDampings) {
      least = std::min(least, held_loss_ref(inputs, damping));
    }
    EXPECT_LE(held_loss_ref(inputs, choose_damping({&inputs, 1}, pool)), 1.02 * least)
        << tokens << " tokens";
  }
}

TEST(Damping, IsLargerForFewerTokens) {
  ThreadPool pool(1);
  const auto chosen = [&](int64_t tokens) {
    const Halves halves(tokens, 400, pool);
    const HeldOut inputs = halves.inputs();
    return choose_damping({&inputs, 1}, pool);
  };
  EXPECT_GE(chosen(40), 10 * chosen(4000));
  EXPECT_GE(chosen(100), chosen(400));
}

TEST(Damping, WeighsSeveralInputsEqually) {
  ThreadPool pool(1);
  const Halves many(4000, 400, pool);
  Halves few(40, 400, pool);
  const HeldOut both[] = {many.inputs(), few.inputs()};
  const double chosen = choose_damping(both, pool);
  const double of_both = held_loss_ref(both[0], chosen) + held_loss_ref(both[1], chosen);
  for (const double damping : kDampings) {
    EXPECT_LE(of_both, 1.02 * (held_loss_ref(both[0], damping) + held_loss_ref(both[1], damping)));
  }
}

TEST(Damping, IsTheSameForAnyNumberOfThreads) {
  std::vector<double> losses;
  for (const int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    const Halves halves(150, 100, pool);
    losses.push_back(held_loss(halves.inputs(), 0.03, pool));
  }
  EXPECT_EQ(losses[0], losses[1]);
  EXPECT_EQ(losses[0], losses[2]);
}

// Fewer tokens than columns: hardly damped, it cannot be factored; that is no reason to stop.
TEST(Damping, OfASingleTokenIsFound) {
  ThreadPool pool(1);
  const Halves halves(1, 50, pool);
  const HeldOut inputs = halves.inputs();
  const double chosen = choose_damping({&inputs, 1}, pool);
  EXPECT_TRUE(std::isfinite(held_loss(inputs, chosen, pool)));
}

// An expert whose inputs are zero has no say.
TEST(Damping, IsNotThatOfInputsOfZeros) {
  ThreadPool pool(1);
  const Halves few(40, 400, pool);
  SecondMoment zeros(kDampedCols);
  const std::vector<float> token(kDampedCols);
  zeros.add(token.data(), 1, pool);
  const HeldOut alone = few.inputs();
  const HeldOut both[] = {{.rest = &zeros, .held = &zeros}, alone};
  EXPECT_EQ(choose_damping(both, pool), choose_damping({&alone, 1}, pool));
}

TEST(SecondMoment, GivesBackWhatWasAdded) {
  ThreadPool pool(1);
  const SecondMoment one = correlated_moment(kDampedCols, 30, 1, pool);
  SecondMoment both = one;
  both.add(correlated_moment(kDampedCols, 20, 2, pool));
  both.remove(correlated_moment(kDampedCols, 20, 2, pool));
  EXPECT_EQ(both.tokens(), 30);
  for (size_t i = 0; i < both.values().size(); ++i) {
    EXPECT_NEAR(both.values()[i], one.values()[i], 1e-3);
  }
}

}  // namespace
}  // namespace ram
