// Finding plan.json at a given path.
#include <fstream>

#include <gtest/gtest.h>

#include "ram/error.h"
#include "ram/plan.h"

#include "support/temp_folder.h"

namespace ram {
namespace {

namespace fs = std::filesystem;

TEST(ReadPlan, SaysThatAFolderHasNone) {
  const testing::TempFolder folder;
  try {
    read_plan(folder.path());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kMissing);
    EXPECT_NE(std::string(error.what()).find("ram did not make it"), std::string::npos);
  }
}

TEST(PlanText, IsThatOfAPlanOfRamOnly) {
  const testing::TempFolder folder;
  const fs::path file = folder / "plan.json";
  EXPECT_FALSE(plan_text(folder.path()));
  for (const char* other : {"", "{", "[1]", "{\"plan\": 1}", "\"ram_plan\""}) {
    std::ofstream(file) << other;
    EXPECT_FALSE(plan_text(folder.path())) << other;
  }
  const std::string text = "{\"ram_plan\": 1}\n";
  std::ofstream(file) << text;
  EXPECT_EQ(plan_text(folder.path()), text);
  fs::remove(file);
  fs::create_directory(file);
  EXPECT_FALSE(plan_text(folder.path()));
}

}  // namespace
}  // namespace ram
