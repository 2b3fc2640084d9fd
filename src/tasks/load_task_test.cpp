// Questions as in lm-evaluation-harness: identical prompts, identically drawn examples, and the
// messages about faulty data.
#include <filesystem>
#include <fstream>
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include "ram/error.h"
#include "ram/hash.h"
#include "ram/json.h"
#include "ram/tasks.h"

#include "python_random.h"
#include "python_text.h"
#include "support/temp_folder.h"

namespace ram {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

const fs::path kTaskVectors = RAM_SOURCE_DIR "/tests/vectors/tasks";

Json read_json(const fs::path& path) {
  std::ifstream file(path);
  return Json::parse(file);
}

void expect_prompts(const TaskData& data, const Json& expected) {
  ASSERT_EQ(data.questions.size(), expected.size());
  for (size_t q = 0; q < expected.size(); ++q) {
    const TaskQuestion& question = data.questions[q];
    const Json& entry = expected[q];
    EXPECT_EQ(question.answer, entry.at("answer").get<int64_t>()) << q;
    EXPECT_EQ(question.continuations, entry.at("continuations").get<std::vector<std::string>>());
    for (size_t c = 0; c < question.continuations.size(); ++c) {
      const std::string& own = question.contexts[question.contexts.size() > 1 ? c : 0];
      const std::string context = question.shared + own;
      if (c == 0 && entry.contains("context")) {
        EXPECT_EQ(context, entry["context"].get<std::string>());
      }
      EXPECT_EQ(sha256_text(context), entry.at("contexts")[c].get<std::string>())
          << data.info.name << " " << q << "\n"
          << context;
    }
  }
}

TEST(LoadTask, AsksAsTheHarnessDoes) {
  const Json expected = read_json(kTaskVectors / "prompts.json").at("with training split");
  ASSERT_EQ(expected.size(), 4U);
  for (const auto& [name, prompts] : expected.items()) {
    expect_prompts(load_task(name, kTaskVectors, {}), prompts);
  }
}

TEST(LoadTask, TakesExamplesFromTheAskedSplitWhereThereIsNoOther) {
  testing::TempFolder folder;
  fs::copy_file(kTaskVectors / "arc_challenge_train.jsonl", folder / "arc_challenge_test.jsonl");
  fs::copy_file(kTaskVectors / "hellaswag_validation.jsonl", folder / "hellaswag_validation.jsonl");
  const Json expected = read_json(kTaskVectors / "prompts.json").at("without");
  for (const auto& [name, prompts] : expected.items()) {
    const TaskData data = load_task(name, folder.path(), {});
    EXPECT_TRUE(data.examples_from_asked);
    expect_prompts(data, prompts);
  }
  EXPECT_FALSE(load_task("hellaswag", kTaskVectors, {}).examples_from_asked);
}

TEST(LoadTask, GivesASampleOfQuestionsTheExamplesOfTheFullRun) {
  for (const char* name : {"arc_challenge", "winogrande", "hellaswag", "mmlu"}) {
    const TaskData all = load_task(name, kTaskVectors, {});
    const TaskData some = load_task(name, kTaskVectors, {.limit = 5, .seed = 3});
    EXPECT_EQ(some.questions.size(), 5U);
    EXPECT_EQ(some.total, all.total);
    EXPECT_EQ(some.digest, all.digest);
    for (const TaskQuestion& question : some.questions) {
      const TaskQuestion& same = all.questions[static_cast<size_t>(question.index)];
      EXPECT_EQ(question.shared, same.shared);
      EXPECT_EQ(question.contexts, same.contexts);
    }
    EXPECT_EQ(load_task(name, kTaskVectors, {.limit = 1000}).questions.size(),
              all.questions.size());
  }
}

TEST(LoadTask, ReadsGzipAsItsContent) {
  testing::TempFolder folder;
  std::ifstream file(kTaskVectors / "winogrande_validation.jsonl");
  const std::string content{std::istreambuf_iterator<char>(file), {}};
  const fs::path path = folder / "winogrande_validation.jsonl.gz";
  gzFile out = gzopen(path.c_str(), "wb");
  ASSERT_EQ(gzwrite(out, content.data(), static_cast<unsigned>(content.size())),
            static_cast<int>(content.size()));
  gzclose(out);
  const TaskData plain = load_task("winogrande", kTaskVectors, {});
  const TaskData packed = load_task("winogrande", folder.path(), {});
  EXPECT_EQ(packed.digest, plain.digest);
  // A folder of the first name is not a readable file.
  fs::create_directories(folder / "winogrande_validation.jsonl");
  EXPECT_EQ(load_task("winogrande", folder.path(), {}).digest, plain.digest);
  EXPECT_EQ(packed.questions.back().shared, plain.questions.back().shared);
  // Truncated, it is damaged and not merely shorter.
  fs::resize_file(path, fs::file_size(path) / 2);
  EXPECT_THROW(load_task("winogrande", folder.path(), {}), Error);
}

TEST(PythonRandom, DrawsAsPython) {
  const Json all = read_json(kTaskVectors / "random.json");
  ASSERT_EQ(all.size(), 4U);
  for (const Json& entry : all) {
    PythonRandom random(entry.at("seed").get<uint32_t>());
    for (const Json& sample : entry.at("samples")) {
      EXPECT_EQ(random.sample(sample.at("population"), sample.at("count")),
                sample.at("drawn").get<std::vector<int64_t>>());
    }
  }
}

TEST(PythonText, DoesWhatPythonDoes) {
  EXPECT_EQ(python_strip("\u00a0\t a b \u3000\x1f"), "a b");
  EXPECT_EQ(python_strip(" \n "), "");
  EXPECT_EQ(python_rstrip(" a\u2028"), " a");
  EXPECT_EQ(python_lstrip(" a "), "a ");
  EXPECT_EQ(python_capitalize("éCOLE Ça"), "École ça");
  EXPECT_EQ(python_capitalize(""), "");
  EXPECT_EQ(python_length("naïve 東"), 7);
  EXPECT_EQ(python_replace("aaa", "aa", "b"), "ba");
  EXPECT_EQ(without_brackets("a[b]c[d[e]f]g[h\n]i["), "acf]g[h\n]i[");
}

/// A user's file with one line, read as `choice`.
class ChoiceFile : public ::testing::Test {
 protected:
  Error error_of(const std::string& content, const char* task = "choice") {
    const fs::path path = folder_ / "own.jsonl";
    std::ofstream(path, std::ios::trunc) << content;
    try {
      load_task(task, path, {});
    } catch (const Error& error) {
      return error;
    }
    return {Code{}, "no error"};
  }
  testing::TempFolder folder_;
};

TEST_F(ChoiceFile, SaysWhatIsWrongAndWhere) {
  const std::string good = R"({"question": "a?", "choices": ["b", "c"], "answer": 1})";
  EXPECT_STREQ(error_of(good).what(), "no error");
  const std::vector<std::pair<std::string, const char*>> wrong = {
      {"", "no question"},
      {"\n \n", "no question"},
      {good + "\n" + "{", "not valid JSON at byte"},
      {good + "\n" + "{", "line 2); a data file has one JSON object on each line"},
      {good + "\n" + R"({"answer": )" + std::string(200000, '['), "nested deeper than 64 levels"},
      {"[1]", "line 1: not a JSON object"},
      {R"({"question": "a", "answer": 0})", "line 1: no field 'choices'"},
      {R"({"question": 3, "choices": ["b", "c"], "answer": 1})", "'question' is of type number"},
      {R"({"question": " ", "choices": ["b", "c"], "answer": 1})", "the question is empty"},
      {R"({"question": "a", "choices": "b", "answer": 1})", "not a list of strings"},
      {R"({"question": "a", "choices": ["b", 2], "answer": 1})", "entry of type number"},
      {R"({"question": "a", "choices": ["b"], "answer": 0})", "1 choices"},
      {R"({"question": "a", "choices": ["b", ""], "answer": 0})", "a choice is empty"},
      {R"({"question": "a", "choices": ["b", "b"], "answer": 0})", "two choices are the same"},
      {R"({"question": "a", "choices": ["b", "c"], "answer": 2})", "answer 2: choices are 0 to 1"},
      {R"({"question": "a", "choices": ["b", "c"], "answer": -1})", "answer -1"},
      {R"({"question": "a", "choices": ["b", "c"], "answer": "x"})", "not an integer"},
      {"{\"question\": \"\xff\", \"choices\": [\"b\", \"c\"], \"answer\": 0}", "line 1"}};
  for (const auto& [content, says] : wrong) {
    const Error error = error_of(content);
    EXPECT_EQ(error.code(), Code::kCorrupt) << content;
    EXPECT_THAT(error.what(), AllOf(HasSubstr("own.jsonl"), HasSubstr(says)));
  }
}

TEST_F(ChoiceFile, PutsASpaceWhereNeitherSideHasOne) {
  std::ofstream(folder_ / "own.jsonl")
      << R"({"question": "a?", "choices": ["b", " c"], "answer": 1, "id": "x", "subject": "s"})"
      << "\n"
      << R"({"question": "a? ", "choices": ["b", "c"], "answer": "0"})";
  const TaskData data = load_task("choice", folder_ / "own.jsonl", {});
  EXPECT_THAT(data.questions[0].continuations, ::testing::ElementsAre(" b", " c"));
  EXPECT_THAT(data.questions[1].continuations, ::testing::ElementsAre("b", "c"));
  EXPECT_EQ(data.questions[0].id, "x");
  EXPECT_EQ(data.questions[0].group, "s");
  EXPECT_EQ(data.questions[1].id, "1");
}

TEST(LoadTask, RefusesDocumentsOutsideTheirTask) {
  const std::vector<std::tuple<const char*, const char*, std::string, const char*>> wrong = {
      {"arc_challenge", "arc_challenge_test",
       R"({"question": "a", "choices": {"text": ["b"], "label": ["A"]}, "answerKey": "B"})",
       "answerKey 'B'"},
      {"arc_challenge", "arc_challenge_test",
       R"({"question": "a", "choices": {"text": ["b"], "label": []}, "answerKey": "B"})",
       "differ in number"},
      {"winogrande", "winogrande_validation",
       R"({"sentence": "no blank", "option1": "a", "option2": "b", "answer": "1"})", "no blank"},
      {"winogrande", "winogrande_validation",
       R"({"sentence": "a _", "option1": "a", "option2": "b", "answer": ""})", "answer ''"},
      {"hellaswag", "hellaswag_validation",
       R"({"ctx_a": "a", "ctx_b": "", "activity_label": "c", "endings": ["d"], "label": "1"})",
       "label 1: there are 1 endings"},
      {"mmlu", "mmlu_test",
       R"({"question": "a", "subject": "s", "choices": ["a", "b"], "answer": 1})", "2 choices"},
      {"mmlu", "mmlu_test",
       R"({"question": "a", "subject": "s", "choices": ["a", "b", "c", "d"], "answer": 1})",
       "1 documents of s, 6 are needed"}};
  for (const auto& [task, stem, content, says] : wrong) {
    testing::TempFolder folder;
    std::ofstream(folder / (std::string(stem) + ".jsonl")) << content;
    try {
      load_task(task, folder.path(), {});
      ADD_FAILURE() << content;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kCorrupt);
      EXPECT_THAT(error.what(), HasSubstr(says));
    }
  }
}

TEST(LoadTask, NamesTheCommandThatMakesAMissingFile) {
  testing::TempFolder folder;
  const auto message = [&](const char* task, const fs::path& path) {
    try {
      load_task(task, path, {});
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_THAT(message("mmlu", folder.path()), HasSubstr("load_dataset('cais/mmlu', 'all'"));
  std::ofstream(folder / "mmlu_test.parquet") << "PAR1";
  EXPECT_THAT(message("mmlu", folder.path()),
              AllOf(HasSubstr("read_parquet"), HasSubstr("mmlu_test.parquet")));
  EXPECT_THAT(message("choice", folder / "mmlu_test.parquet"), HasSubstr("read_parquet"));
  EXPECT_THAT(message("mmlu", folder / "nowhere"), HasSubstr("not a folder"));
  EXPECT_THAT(message("choice", folder / "nowhere"), HasSubstr("no such file"));
  EXPECT_THAT(message("mmul", folder.path()), HasSubstr("available: arc_challenge, winogrande"));
}

}  // namespace
}  // namespace ram
