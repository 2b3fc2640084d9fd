// plan.json: what is written can be read back, edited plans are recomputed, errors are named.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/error.h"
#include "ram/json.h"

#include "plan_test_support.h"
#include "support/corrupt_inputs.h"
#include "support/sanitizers.h"

namespace ram {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

// The error's code and message from reading and completing a plan.
std::pair<Code, std::string> failure(const PlanningModel& model, const std::string& text) {
  try {
    (void)complete_plan(model.input(), parse_plan(text, "plan.json"));
  } catch (const Error& error) {
    return {error.code(), error.what()};
  }
  return {Code{}, "accepted"};
}

TEST(PlanJson, AnUneditedPlanComesBackAsItWas) {
  const PlanningModel model(tiny_experts());
  PlanRequest request = model.with_budget(model.checkpoint.bytes() / 2);
  request.pins = {{"lm_head", AffineFormat{6, 32}}, {"*embed*", std::nullopt}};
  request.keep = {Role::kNorm};
  request.priors.roles[Role::kExpert] = 1.25;
  request.priors.first_layer = 4;
  for (const Method method : {Method::kSquared, Method::kPublished, Method::kUniform}) {
    request.method = method;
    if (method == Method::kUniform) {
      request.budget_bytes.reset();
      request.uniform = AffineFormat{4, 32};
    }
    const std::string text = render_plan(model.plan(request).plan.value());
    const Plan again = complete_plan(model.input(), parse_plan(text, "plan.json"));
    EXPECT_EQ(render_plan(again), text);
    EXPECT_EQ(request_options(again.request), request_options(request));
  }
}

TEST(PlanJson, ThePublishedMethodIsReadByItsFormerNameToo) {
  const PlanningModel model(tiny_experts());
  PlanRequest request = model.with_budget(model.checkpoint.bytes() / 2);
  request.method = Method::kPublished;
  const std::string text = render_plan(model.plan(request).plan.value());
  const std::string now = "\"method\": \"published\"";
  ASSERT_THAT(text, HasSubstr(now));
  std::string former = text;
  former.replace(former.find(now), now.size(), "\"method\": \"ram\"");
  EXPECT_EQ(render_plan(parse_plan(former, "plan.json")),
            render_plan(parse_plan(text, "plan.json")));
}

TEST(PlanJson, CoefficientsAndGainsComeBackAndAreMultiplied) {
  const PlanningModel model(tiny_experts());
  PlanRequest request = model.with_budget(model.checkpoint.bytes() / 3);
  request.method = Method::kMeasured;
  for (const Unit& unit : model.checkpoint.units) request.coefficients[unit.name] = 2;
  const Plan without = model.plan(request).plan.value();
  EXPECT_EQ(render_plan(without).find("gain"), std::string::npos);
  const std::string name = "model.layers.1.self_attn.o_proj";
  for (const Unit& unit : model.checkpoint.units) {
    request.gains.units[unit.name] = unit.name == name ? 40 : 0.25;
  }
  request.gains.formats.assign(kFormatCount, 1.5);
  const Plan plan = model.plan(request).plan.value();
  const std::string text = render_plan(plan);
  const Plan again = complete_plan(model.input(), parse_plan(text, "plan.json"));
  EXPECT_EQ(render_plan(again), text);
  EXPECT_EQ(again.request.gains, request.gains);
  double sum = 0;
  for (const PlannedUnit& unit : plan.units) {
    const double gain = unit.format ? (unit.name == name ? 40 : 0.25) * 1.5 : 1;
    EXPECT_DOUBLE_EQ(unit_loss(plan, unit),
                     unit.prior.value_or(0) * unit.nrmse * unit.nrmse * gain);
    sum += unit_loss(plan, unit);
  }
  EXPECT_NEAR(sum, plan.objective, 1e-12 * sum);
  const auto bytes = [&](const Plan& of) {
    for (const PlannedUnit& unit : of.units) {
      if (unit.name == name) return unit.bytes;
    }
    return int64_t{0};
  };
  EXPECT_GT(bytes(plan), bytes(without));  // its encoder gains less than the others'
}

TEST(PlanJson, AnEditedFormatIsTakenAndTheRestWorkedOutAgain) {
  const PlanningModel model(tiny_experts());
  Plan plan = model.plan(model.with_budget(model.checkpoint.bytes())).plan.value();
  PlannedUnit& unit = plan.units[0];
  ASSERT_EQ(unit.name, "model.embed_tokens");
  unit.format = AffineFormat{3, 128};
  unit.bytes = 1;
  unit.nrmse = 0.5;
  plan.objective = 17;
  const Plan again = complete_plan(model.input(), parse_plan(render_plan(plan), "plan.json"));
  EXPECT_EQ(again.units[0].format, unit.format);
  EXPECT_EQ(again.units[0].bytes,
            unit_bytes(model.checkpoint, model.checkpoint.units[0], unit.format, DType::kBF16));
  EXPECT_LT(again.total_bytes, plan.total_bytes);
  EXPECT_EQ(layout_plan(model.checkpoint, again).total_bytes(), again.total_bytes);
  EXPECT_LT(again.lower_bound, again.objective);
}

TEST(PlanJson, AnEditThatBreaksTheBudgetIsRefusedWithTheDifference) {
  const PlanningModel model(tiny_experts());
  Plan plan = model.plan(model.with_budget(model.min_safe_bytes() + 2000)).plan.value();
  plan.units[0].format = AffineFormat{8, 32};
  const auto [code, message] = failure(model, render_plan(plan));
  EXPECT_EQ(code, Code::kUsage);
  EXPECT_THAT(message, HasSubstr("bytes too many"));
}

TEST(PlanJson, WhatIsWrongIsNamedInOneLine) {
  const PlanningModel model;
  const std::string good =
      render_plan(model.plan(model.with_budget(model.checkpoint.bytes())).plan.value());
  const auto expect = [&](const std::string& text, Code code, const std::string& words) {
    const auto [found, message] = failure(model, text);
    EXPECT_EQ(found, code) << message;
    EXPECT_THAT(message, HasSubstr(words));
    EXPECT_THAT(message, ::testing::Not(HasSubstr("\n")));
  };
  expect("", Code::kCorrupt, "not valid JSON at byte");
  expect("[]", Code::kCorrupt, "not a plan");
  expect(replaced(good, "\"ram_plan\": 1", "\"ram_plan\": 1e999"), Code::kCorrupt, "out of range");
  expect(std::string(100000, '['), Code::kCorrupt, "nested deeper than 16 levels");
  expect(good.substr(0, good.size() / 2), Code::kCorrupt, "not valid JSON at byte");
  expect(replaced(good, "\"ram_plan\": 1", "\"ram_plan\": 2"), Code::kUnsupported, "version 2");
  expect(replaced(good, "fingerprint of model", "another"), Code::kUsage, "fingerprint");
  expect(replaced(good, "\"name\": \"lm_head\"", "\"name\": \"lm_tail\""), Code::kUsage, "lm_head");
  expect(replaced(good, "\"format\": \"", "\"format\": \"5:48"), Code::kUsage, "5:48");
  expect(replaced(good, "\"squared\"", "\"cubed\""), Code::kCorrupt, "cubed");
  expect(replaced(good, "\"budget_bytes\": ", "\"budget_bytes\": -"), Code::kCorrupt,
         "budget_bytes");
  expect(replaced(good, "\"units\": [", "\"units\": [7, "), Code::kCorrupt, "not an object");
  expect(replaced(good, "\"pins\": []", "\"pins\": [], \"format_gains\": [1]"), Code::kCorrupt,
         "format_gains");
  expect(replaced(good, "\"nrmse\": ", "\"gain\": -1, \"nrmse\": "), Code::kCorrupt,
         "expected a number from 1e-30");
  expect(replaced(good, "\"dtype\": \"bf16\"", "\"dtype\": \"int8\""), Code::kCorrupt, "int8");
}

TEST(PlanJson, EveryNumberHasARange) {
  const PlanningModel model(tiny_experts());
  PlanRequest request = model.with_budget(model.checkpoint.bytes() / 2);
  request.method = Method::kMeasured;
  for (const Unit& unit : model.checkpoint.units) {
    request.coefficients[unit.name] = 2;
    request.gains.units[unit.name] = 0.5;
  }
  request.gains.formats.assign(kFormatCount, 1.5);
  request.calibration = "own rows 2 length 16 seed 0 rule 1 digest aaaa";
  const Json good = Json::parse(render_plan(model.plan(request).plan.value()));
  ASSERT_EQ(failure(model, good.dump()).second, "accepted");
  // Every number of the plan takes each of these values in turn; the worst outcome is an error.
  constexpr int kStride = RAM_SANITIZED ? 5 : 1;  // the optimized build tries all
  int numbers = 0;
  const std::vector<std::string> bad = {"-1",  "-1e300", "1e301", "9223372036854775807",  "true",
                                        "[0]", "1e999",  "NaN",   "99999999999999999999", "\"1\""};
  const Json flat = good.flatten();
  for (const auto& [place, value] : flat.items()) {
    if (!value.is_number()) continue;
    if (++numbers % kStride != 0) continue;
    Json edited = good;
    edited[Json::json_pointer(place)] = "@";
    for (const std::string& number : bad) {
      if (place == "/request/veto_db" && number == "-1") continue;
      // Large, but valid for priors, gains, errors and losses.
      const bool large = number == "9223372036854775807";
      const auto names = [&](const char* word) { return place.find(word) != std::string::npos; };
      if (large && (names("prior") || names("gain") || names("nrmse") || names("objective") ||
                    names("lower_bound"))) {
        continue;
      }
      const auto [code, message] = failure(model, replaced(edited.dump(), "\"@\"", number));
      EXPECT_TRUE(code == Code::kCorrupt || (code == Code::kUnsupported && place == "/ram_plan"))
          << place << " " << number << ": " << message;
      EXPECT_THAT(message, ::testing::Not(HasSubstr("\n")));
    }
  }
  EXPECT_GT(numbers, 100);
}

TEST(PlanJson, ARequestHasOneTargetAndItsMethod) {
  const PlanningModel model;
  const Json good = Json::parse(
      render_plan(model.plan(model.with_budget(model.checkpoint.bytes())).plan.value()));
  const auto refused = [&](const char* key, const Json& value) {
    Json edited = good;
    edited["request"][key] = value;
    const auto [code, message] = failure(model, edited.dump());
    EXPECT_EQ(code, Code::kCorrupt) << key << " " << value << ": " << message;
  };
  refused("bpw", 4.5);
  refused("uniform", "4:64");
  refused("keep", "router");
  refused("keep", {{"a", "router"}});
  refused("pins", {{"a", {"lm_head", "4:64"}}});
  refused("allow_unsafe", 1);
  refused("allow_unsafe", nullptr);
  Json uniform = good;
  uniform["method"] = "uniform";
  EXPECT_EQ(failure(model, uniform.dump()).first, Code::kCorrupt);
  uniform.erase("request");
  EXPECT_EQ(failure(model, uniform.dump()).first, Code::kCorrupt);
  Json none = good;
  none["request"].erase("budget");
  EXPECT_EQ(failure(model, none.dump()).first, Code::kCorrupt);
}

TEST(PlanJson, WhatIsPublishedCanBeReadAgain) {
  for (const std::string& name :
       {std::string("a\x1b[31m\nb"), std::string(200, 'x') + std::string(150, '\xc3'),
        std::string("\xff\x80 \xc2\x9b"), std::string(299, 'y') + "\xc3\xa9"}) {
    PlanningModel model;
    model.checkpoint.name = name;
    const std::string text =
        render_plan(model.plan(model.with_budget(model.checkpoint.bytes())).plan.value());
    const Plan again = complete_plan(model.input(), parse_plan(text, "plan.json"));
    EXPECT_EQ(render_plan(again), text);
  }
  // What the reader would reject is rejected before anything is written.
  const PlanningModel model;
  PlanRequest request = model.with_budget(model.checkpoint.bytes());
  request.priors.roles[Role::kHead] = 1e300;
  EXPECT_THROW(model.plan(request), Error);
  request = model.with_budget(model.checkpoint.bytes());
  request.veto_db = -1e9;
  EXPECT_THROW(model.plan(request), Error);
}

TEST(PlanJson, EveryBrokenInputIsRefusedInOneShortLine) {
  testing::replay_corrupt_inputs("plan",
                                 [](const std::string& text) { parse_plan(text, "plan.json"); });
}

}  // namespace
}  // namespace ram
