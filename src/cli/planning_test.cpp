#include "planning.h"

#include <functional>

#include <CLI/CLI.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/error.h"

namespace ram::cli {
namespace {

using ::testing::HasSubstr;

PlanningArguments with_budget(const std::string& budget = "19GB") {
  PlanningArguments arguments;
  arguments.budget = budget;
  return arguments;
}

std::string refusal(const PlanningArguments& arguments, bool needs_budget = true) {
  try {
    parse_planning(arguments, needs_budget);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kUsage) << error.what();
    return error.what();
  }
  return "accepted";
}

std::string refusal(const std::function<void(PlanningArguments&)>& change) {
  PlanningArguments arguments = with_budget();
  change(arguments);
  return refusal(arguments);
}

TEST(Planning, LeavesTheDefaultsOfARequestAlone) {
  const Planning planning = parse_planning(with_budget(), true);
  PlanRequest expected;
  expected.budget_bytes.reset();
  EXPECT_EQ(request_options(planning.request), request_options(expected));
  ASSERT_TRUE(planning.budget.has_value());
  EXPECT_EQ(planning.budget->bytes, 19000000000);
}

TEST(Planning, TakesExactlyOneSize) {
  PlanningArguments none;
  EXPECT_THAT(refusal(none), HasSubstr("no size given"));
  PlanningArguments two = with_budget();
  two.bpw = 4.5;
  EXPECT_THAT(refusal(two), HasSubstr("more than one"));
  EXPECT_THAT(refusal(with_budget("19G")), HasSubstr("19GB"));
  EXPECT_EQ(refusal(none, false), "accepted");
}

TEST(Planning, RefusesValuesOutsideTheirRangesByName) {
  EXPECT_THAT(refusal([](auto& a) { a.min_bits = 9; }), HasSubstr("--min-bits 9"));
  EXPECT_THAT(refusal([](auto& a) { a.min_bits = -1; }), HasSubstr("--min-bits -1"));
  EXPECT_THAT(refusal([](auto& a) { a.keep = "router,nrom"; }), HasSubstr("did you mean norm?"));
  EXPECT_THAT(refusal([](auto& a) { a.dtype = "fp16"; }), HasSubstr("bf16, f16 or f32"));
  EXPECT_THAT(refusal([](auto& a) { a.method = "cubed"; }), HasSubstr("--method cubed"));
  EXPECT_THAT(refusal([](auto& a) { a.method = "uniform"; }), HasSubstr("--uniform BITS:GROUP"));
  EXPECT_THAT(refusal([](auto& a) { a.encoder = "reference"; }), HasSubstr("analysis only"));
  EXPECT_THAT(refusal([](auto& a) { a.time_limit_s = 0; }), HasSubstr("--time-limit"));
  EXPECT_THAT(refusal([](auto& a) { a.priors = {"haed=3"}; }), HasSubstr("did you mean head?"));
  EXPECT_THAT(refusal([](auto& a) { a.pins = {"lm_head=9:64"}; }), HasSubstr("--pin 9:64"));
}

TEST(Planning, ReadsPinsPriorsMenusAndRoles) {
  PlanningArguments arguments = with_budget("50%");
  arguments.pins = {"*.down_proj=6:64", "lm_head=bf16"};
  arguments.priors = {"head=2.5"};
  arguments.menu = "4:64,8:128";
  arguments.keep = "none";
  arguments.method = "ram";  // the published method's former name
  const PlanRequest request = parse_planning(arguments, true).request;
  EXPECT_EQ(request.pins.size(), 2U);
  EXPECT_EQ(request.priors.roles.at(Role::kHead), 2.5);
  EXPECT_EQ(request.menu.size(), 2U);
  EXPECT_TRUE(request.keep.empty());
  EXPECT_EQ(request.method, Method::kPublished);
}

TEST(Planning, WhatAPlanSaysOfItsRequestCanBeTypedAgain) {
  PlanningArguments arguments;
  arguments.bpw = 4.25;
  arguments.method = "published";
  arguments.priors = {"head=3", "first_layer=2"};
  arguments.keep = "router,norm,head";
  arguments.min_bits = 3;
  arguments.veto_db = 8.5;
  arguments.allow_unsafe = true;
  const std::string typed = request_options(parse_planning(arguments, true).request);
  CLI::App app;
  Arguments::Values values;
  PlanningArguments again;
  add_planning_options(Arguments(app, values), again, true);
  app.parse(typed);
  EXPECT_EQ(request_options(parse_planning(again, true).request), typed);
}

}  // namespace
}  // namespace ram::cli
