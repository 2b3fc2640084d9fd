// The model card: correct about how the folder was made, and safe with any contents of names and
// cards.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "assemble.h"
#include "plan_test_support.h"

namespace ram {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class ModelCardTest : public ::testing::Test {
 protected:
  ModelCardTest()
      : plan_(model_.plan(model_.with_budget(model_.checkpoint.bytes() / 2)).plan.value()) {}

  std::string card() const { return render_readme(model_.checkpoint, plan_); }
  std::string card_of(const std::string& name) {
    plan_.model_name = name;
    return card();
  }

  PlanningModel model_{tiny_experts()};
  Plan plan_;
};

TEST_F(ModelCardTest, it_says_what_the_model_was_calibrated_on) {
  EXPECT_THAT(card(), HasSubstr("without calibration data"));
  for (const auto& [calibration, says] : std::vector<std::pair<std::string, std::string>>{
           {"own rows 64 length 128 seed 42 digest ab", "calibrated on text that the model wrote"},
           {"own random-start rows 8 digest ab", "calibrated on text that the model wrote"},
           {"random rows 64 seed 42 digest ab", "calibrated on random ids"},
           {"file sha256 12ab rows 8 digest ab",
            "calibrated on a text (plan.json: `file sha256"}}) {
    plan_.request.calibration = calibration;
    EXPECT_THAT(card(), HasSubstr(says));
    EXPECT_THAT(card(), Not(HasSubstr("without calibration")));
  }
}

TEST_F(ModelCardTest, only_an_id_of_the_hub_is_a_base_model) {
  EXPECT_THAT(card_of("Org/Name"), HasSubstr("base_model: \"Org/Name\"\nbase_model_relation:"));
  EXPECT_THAT(card_of("name"), Not(HasSubstr("base_model")));
}

TEST_F(ModelCardTest, what_is_given_stays_a_value) {
  model_.checkpoint.card = {.licence = "mit\"\nadded: x",
                            .licence_name = "---",
                            .licence_link = "",
                            .languages = {"no", "a: b"},
                            .tags = {"mlx", "- c", "\\"}};
  const std::string text = card_of("a\n---\nadded: y\n# <b> `x` [l](u)");
  EXPECT_THAT(text, HasSubstr("license: \"mit\\\"\xEF\xBF\xBD"
                              "added: x\"\n"));
  EXPECT_THAT(text, HasSubstr("license_name: \"---\"\n"));
  EXPECT_THAT(text, HasSubstr("language:\n- \"no\"\n- \"a: b\"\n"));
  EXPECT_THAT(text, HasSubstr("tags:\n- \"mlx\"\n- \"- c\"\n- \"\\\\\"\n- \"quantized\"\n"));
  EXPECT_THAT(text, Not(HasSubstr("license_link")));
  EXPECT_THAT(text, Not(HasSubstr("\nadded")));
  EXPECT_THAT(text, HasSubstr("\\# \\<b\\> \\`x\\` \\[l\\](u)"));
}

TEST_F(ModelCardTest, how_to_run_it_is_told_only_where_it_can_be_run) {
  EXPECT_THAT(card(), HasSubstr("pip install mlx-lm\nmlx_lm.generate --model ."));
  model_.checkpoint.carried_files.clear();
  EXPECT_THAT(card(), HasSubstr("no tokenizer"));
  EXPECT_THAT(card(), Not(HasSubstr("mlx_lm.generate")));
}

TEST_F(ModelCardTest, a_loss_is_said_with_a_scale) {
  EXPECT_THAT(card(), ::testing::ContainsRegex("- loss .squared.: (the least|at most .* % above)"));
  PlanRequest request = model_.with_budget(model_.checkpoint.bytes() / 2);
  request.method = Method::kMeasured;
  for (const Unit& unit : model_.checkpoint.units) request.coefficients[unit.name] = 0.5;
  const Plan plan = model_.plan(request).plan.value();
  EXPECT_THAT(render_readme(model_.checkpoint, plan),
              HasSubstr(fmt::format("- predicted KL: {:.3g} nats per token; ", plan.objective)));
}

TEST_F(ModelCardTest, the_command_is_one_word_for_the_shell) {
  EXPECT_THAT(card_of("Org/Name-1.5"), HasSubstr("    ram fit Org/Name-1.5 --budget"));
  EXPECT_THAT(card_of("two words"), HasSubstr("    ram fit 'two words' --budget"));
  EXPECT_THAT(card_of("it's $(x)"), HasSubstr("    ram fit 'it'\\''s $(x)' --budget"));
  EXPECT_THAT(card_of("-rf"), HasSubstr("    ram fit ./-rf --budget"));
}

}  // namespace
}  // namespace ram
