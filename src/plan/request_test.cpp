// A request's values as users type them.
#include <functional>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/error.h"
#include "ram/plan.h"

namespace ram {
namespace {

using ::testing::HasSubstr;

std::string refusal(const std::function<void()>& parse) {
  try {
    parse();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kUsage) << error.what();
    return error.what();
  }
  return "accepted";
}

std::string refused_prior(const char* text) {
  PlanRequest request;
  std::string message = refusal([&] { parse_prior(text, request); });
  EXPECT_EQ(request_options(request), request_options({}));
  return message;
}

TEST(Request, PriorsAreTheMethodsUnlessGiven) {
  PlanRequest request;
  EXPECT_EQ(priors_of(request), usual_priors(Method::kSquared));
  EXPECT_EQ(priors_of(request).tied_embedding, 100);
  request.method = Method::kPublished;
  EXPECT_EQ(priors_of(request).tied_embedding, 10);
  EXPECT_EQ(priors_of(request).first_layer, 3);
  EXPECT_EQ(request_options(request), "--method published");
  parse_prior("embedding=7", request);
  EXPECT_EQ(priors_of(request).tied_embedding, 7);
  EXPECT_EQ(request_options(request), "--method published --prior embedding=7");
  // What a plan of an earlier version says: every prior but the tied embedding's.
  PlanRequest before;
  before.priors = {.roles = {{Role::kEmbedding, 10}, {Role::kHead, 10}, {Role::kRouter, 8}},
                   .first_layer = 3,
                   .last_layer = 2};
  EXPECT_EQ(priors_of(before).tied_embedding, 10);
  EXPECT_EQ(request_options(before),
            "--method squared --prior embedding=10 --prior head=10 --prior first_layer=3 --prior "
            "last_layer=2");
}

TEST(Request, ReadsPinsPriorsMenusAndRoles) {
  PlanRequest request;
  for (const char* text : {"*.down_proj=6:64", "lm_head=bf16", "a=b=4:32"}) {
    request.pins.push_back(parse_pin(text));
  }
  EXPECT_EQ(request.pins[0].pattern, "*.down_proj");
  EXPECT_EQ(request.pins[0].format, (AffineFormat{.bits = 6, .group_size = 64}));
  EXPECT_EQ(request.pins[1].format, std::nullopt);
  EXPECT_EQ(request.pins[2].pattern, "a=b");
  for (const char* text : {"head=2.5", "first_layer=1", "last_layer=4"}) parse_prior(text, request);
  EXPECT_EQ(request.priors.roles.at(Role::kHead), 2.5);
  EXPECT_FALSE(request.priors.roles.contains(Role::kEmbedding));
  EXPECT_EQ(request.priors.first_layer, 1);
  EXPECT_EQ(request.priors.last_layer, 4);
  EXPECT_EQ(parse_menu("4:64,8:128").size(), 2U);
  EXPECT_TRUE(parse_keep("none").empty());
  EXPECT_EQ(parse_keep("head,norm"), (std::set<Role>{Role::kHead, Role::kNorm}));
}

TEST(Request, RefusesOtherWordsByTheirOption) {
  EXPECT_THAT(refusal([] { parse_menu("4:64,7:64"); }), HasSubstr("--menu 7:64"));
  EXPECT_THAT(refusal([] { parse_menu("4:64,"); }), HasSubstr("BITS:GROUP"));
  EXPECT_THAT(refusal([] { parse_keep("router,nrom"); }), HasSubstr("did you mean norm?"));
  EXPECT_THAT(refused_prior("head"), HasSubstr("ROLE=X"));
  EXPECT_THAT(refused_prior("head=inf"), HasSubstr("ROLE=X"));
  EXPECT_THAT(refused_prior("head=3x"), HasSubstr("ROLE=X"));
  EXPECT_THAT(refused_prior("head=-1"), HasSubstr("ROLE=X"));
  EXPECT_THAT(refused_prior("haed=3"), HasSubstr("did you mean head?"));
  for (const char* text : {"lm_head", "=4:64", "lm_head="}) {
    EXPECT_THAT(refusal([&] { parse_pin(text); }), HasSubstr("PATTERN=FORMAT")) << text;
  }
  EXPECT_THAT(refusal([] { parse_pin("lm_head=9:64"); }), HasSubstr("--pin 9:64"));
}

TEST(Request, KnowsThePublishedMethodByItsFormerName) {
  for (const Method method :
       {Method::kSquared, Method::kPublished, Method::kUniform, Method::kMeasured}) {
    EXPECT_EQ(parse_method(method_name(method)), method);
  }
  EXPECT_EQ(parse_method("ram"), Method::kPublished);
  EXPECT_EQ(current_method_name("ram"), "published");
  EXPECT_EQ(current_method_name("of tomorrow"), "of tomorrow");
}

}  // namespace
}  // namespace ram
