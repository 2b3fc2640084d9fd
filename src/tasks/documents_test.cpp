// Damaged or unusual data files: findings of fuzzing, and likely mistakes of users.
#include "documents.h"

#include <fstream>

#include <gtest/gtest.h>

#include "ram/tasks.h"

#include "support/corrupt_inputs.h"
#include "support/temp_folder.h"

namespace ram {
namespace {

TEST(Documents, EveryBrokenInputIsRefusedInOneShortLine) {
  const testing::TempFolder folder;
  testing::replay_corrupt_inputs("questions", [&](const std::string& bytes) {
    const auto path = folder / "q.jsonl";
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
    const TaskData data = load_task("choice", path, {});
    EXPECT_FALSE(data.questions.empty());
  });
}

}  // namespace
}  // namespace ram
