// The table of tasks, and how documents become questions with their examples.
#include <algorithm>
#include <array>
#include <map>
#include <system_error>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/hash.h"
#include "ram/machine.h"

#include "python_random.h"
#include "task_spec.h"

namespace ram {
namespace {

namespace fs = std::filesystem;

// lm-evaluation-harness's --fewshot_random_seed.
constexpr uint32_t kExampleSeed = 1234;

const std::array kTasks = {&kArcChallenge, &kWinogrande, &kHellaswag, &kMmlu, &kChoice};

const TaskSpec& find_task(std::string_view name) {
  std::string known;
  for (const TaskSpec* spec : kTasks) {
    if (spec->info.name == name) return *spec;
    known += (known.empty() ? "" : ", ") + std::string(spec->info.name);
  }
  fail(Code::kUsage, "unknown task '{}'; available: {}", name, known);
}

int64_t bytes_of(const std::string& text) {
  return static_cast<int64_t>(sizeof(std::string) + text.size());
}

int64_t bytes_of(const TaskQuestion& question) {
  int64_t bytes = sizeof(TaskQuestion);
  for (const std::string* text : {&question.id, &question.group, &question.shared}) {
    bytes += bytes_of(*text);
  }
  for (const auto* texts : {&question.contexts, &question.continuations, &question.choices}) {
    for (const std::string& text : *texts) bytes += bytes_of(text);
  }
  return bytes;
}

/// The documents from which examples are taken.
struct Pool {
  const DocumentFile* file = nullptr;
  std::vector<std::string> texts;
  std::vector<std::string> identities;
  std::map<std::string, std::vector<int64_t>> groups;  ///< documents of each, in order
};

Pool make_pool(const TaskSpec& spec, const DocumentFile& file, DataMemory& memory) {
  Pool pool{.file = &file, .texts = {}, .identities = {}, .groups = {}};
  for (const Document& document : file.documents) {
    TaskItem item = spec.read(document);
    pool.groups[item.group].push_back(document.index());
    pool.texts.push_back(std::move(item.example));
    pool.identities.push_back(document.identity());
    memory.take(bytes_of(pool.texts.back()) + bytes_of(pool.identities.back()), file.path);
  }
  return pool;
}

[[noreturn]] void fail_small(const Pool& pool, size_t documents, int64_t needed,
                             const std::string& group) {
  fail(Code::kCorrupt, "{}: {} documents{}, {} are needed as examples", pool.file->path, documents,
       group.empty() ? "" : " of " + group, needed);
}

/// Draws the examples, question by question.
class Examples {
 public:
  Examples(const TaskSpec& spec, const Pool& pool, bool from_asked)
      : spec_(spec), pool_(pool), from_asked_(from_asked), random_(kExampleSeed) {}

  /// @return the documents for the next question.
  std::vector<int64_t> next(const Document& document, const std::string& group) {
    const int64_t wanted = spec_.info.examples;
    const bool drop = spec_.draw == Draw::kRandomAndMore || from_asked_;
    const int64_t drawn = wanted + (drop ? 1 : 0);
    std::vector<int64_t> chosen;
    if (spec_.draw == Draw::kFirst) {
      const auto found = pool_.groups.find(group);
      if (found != pool_.groups.end()) chosen = found->second;
      if (std::ssize(chosen) < drawn) fail_small(pool_, chosen.size(), drawn, group);
      chosen.resize(static_cast<size_t>(drawn));
    } else {
      const auto population = std::ssize(pool_.texts);
      if (population < drawn) fail_small(pool_, pool_.texts.size(), drawn, "");
      chosen = random_.sample(population, drawn);
    }
    if (drop) {
      const std::string own = document.identity();
      std::erase_if(chosen,
                    [&](int64_t i) { return pool_.identities[static_cast<size_t>(i)] == own; });
    }
    if (std::ssize(chosen) > wanted) chosen.resize(static_cast<size_t>(wanted));
    return chosen;
  }

 private:
  const TaskSpec& spec_;
  const Pool& pool_;
  bool from_asked_;
  PythonRandom random_;
};

std::vector<TaskQuestion> make_questions(const TaskSpec& spec, const DocumentFile& asked,
                                         const Pool& pool, bool from_asked,
                                         const TaskOptions& options, DataMemory& memory) {
  const int64_t total = std::ssize(asked.documents);
  const int64_t count = std::min(total, options.limit.value_or(total));
  const std::vector<int64_t> wanted = draw_rows(total, count, options.seed);
  Examples examples(spec, pool, from_asked);
  std::vector<TaskQuestion> questions;
  auto next = wanted.begin();
  // One generator runs through all questions: those that are not asked draw theirs too.
  for (const Document& document : asked.documents) {
    TaskItem item = spec.read(document);
    std::vector<int64_t> chosen;
    if (spec.draw != Draw::kNone) chosen = examples.next(document, item.group);
    if (next == wanted.end() || *next != document.index()) continue;
    ++next;
    TaskQuestion question{.index = document.index(),
                          .id = std::move(item.id),
                          .group = std::move(item.group),
                          .shared = std::move(item.description),
                          .contexts = std::move(item.contexts),
                          .continuations = std::move(item.continuations),
                          .choices = std::move(item.choices),
                          .answer = item.answer};
    for (const int64_t i : chosen) question.shared += pool.texts[static_cast<size_t>(i)];
    memory.take(bytes_of(question), asked.path);
    questions.push_back(std::move(question));
  }
  return questions;
}

}  // namespace

std::string example_text(const std::string& text, const std::string& answer) {
  return answer.empty() ? text : text + " " + answer + "\n\n";
}

std::span<const TaskInfo> known_tasks() {
  static const std::vector<TaskInfo> kInfos = [] {
    std::vector<TaskInfo> all;
    all.reserve(kTasks.size());
    for (const TaskSpec* spec : kTasks) all.push_back(spec->info);
    return all;
  }();
  return kInfos;
}

TaskData load_task(std::string_view name, const fs::path& path, const TaskOptions& options) {
  const TaskSpec& spec = find_task(name);
  if (options.limit && *options.limit < 1) {
    fail(Code::kUsage, "a limit of {} questions: use a number from 1", *options.limit);
  }
  TaskData data{.info = spec.info};
  fs::path asked_path = path;
  fs::path examples_path;
  if (!spec.info.own_file) {
    std::error_code ignored;
    if (!fs::is_directory(path, ignored)) {
      fail(Code::kMissing, "{}: not a folder; {} is read from a folder with {}.jsonl",
           path.string(), spec.info.title, spec.asked);
    }
    asked_path = find_documents(path, spec.asked);
    if (asked_path.empty()) fail_without(path, spec.asked, spec.asked_data);
    examples_path = find_documents(path, spec.examples);
  }
  DataMemory memory(options.memory_bytes > 0 ? options.memory_bytes : memory_bytes() / 8);
  const DocumentFile asked = read_documents(asked_path, memory);
  data.total = std::ssize(asked.documents);
  data.digest = asked.digest;
  Pool pool;
  DocumentFile examples;
  if (spec.draw != Draw::kNone) {
    data.examples_from_asked = examples_path.empty();
    if (!data.examples_from_asked) {
      examples = read_documents(examples_path, memory);
      data.digest = hash_text(asked.digest + "\n" + examples.digest);
    }
    pool = make_pool(spec, data.examples_from_asked ? asked : examples, memory);
    data.examples_from = fs::path(pool.file->path).filename().string();
  }
  const int64_t before = memory.taken();
  data.questions = make_questions(spec, asked, pool, data.examples_from_asked, options, memory);
  data.bytes = memory.taken() - before;
  return data;
}

}  // namespace ram
