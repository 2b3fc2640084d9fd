// A folder to verify: for any content of its JSON files and README.md, verify reports the problems
// in lines, and an unchanged folder is whole.
//
// An input is files one after another, each after a line "@@ NAME"; a name alone deletes the file.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "ram/build.h"
#include "ram/curve.h"
#include "ram/file.h"

#include "refusal.h"
#include "scratch_folder.h"
#include "support/tiny_model.h"

namespace {

namespace fs = std::filesystem;

/// A finished folder, and the texts of its files other than weights.
struct Finished {
  fs::path folder = ram::scratch_folder() / "out";
  std::map<std::string, std::string> texts;

  Finished() {
    const fs::path source = ram::scratch_folder() / "source";
    ram::testing::write_tiny_model(source, {.layers = 1});
    const auto checkpoint = ram::Checkpoint::open(source.string());
    ram::Study study(ram::scratch_folder() / "ram.db");
    const ram::ModelCurves curves = ram::analyze(checkpoint, study, {});
    ram::PlanRequest request;
    request.uniform = ram::AffineFormat{4, 32};
    const auto plan = ram::make_plan({checkpoint, curves, nullptr}, request).plan;
    ram::build_folder(checkpoint, plan.value(), study, folder, {});
    for (const auto& entry : fs::directory_iterator(folder)) {
      if (entry.path().extension() == ".safetensors") continue;
      texts[entry.path().filename().string()] = ram::read_text_file(entry.path(), int64_t{1} << 20);
    }
    if (!ram::verify_folder(folder, nullptr, nullptr, 1).problems.empty()) std::abort();
  }
};

void write(const fs::path& path, std::string_view text) {
  std::ofstream(path, std::ios::binary) << text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Finished kFinished;
  std::string_view input(reinterpret_cast<const char*>(data), size);
  std::map<std::string, std::string> changed;
  constexpr std::string_view kMark = "@@ ";
  while (input.starts_with(kMark)) {
    const size_t end = std::min(input.find('\n'), input.size());
    const std::string name(input.substr(kMark.size(), end - kMark.size()));
    input.remove_prefix(std::min(end + 1, input.size()));
    const size_t next = std::min(input.find("\n@@ "), input.size());
    if (kFinished.texts.contains(name)) changed[name] = input.substr(0, next);
    input.remove_prefix(std::min(next + 1, input.size()));
  }
  for (const auto& [name, text] : changed) {
    if (text.empty()) {
      fs::remove(kFinished.folder / name);
    } else {
      write(kFinished.folder / name, text);
    }
  }
  try {
    const auto report = ram::verify_folder(kFinished.folder, nullptr, nullptr, 1);
    for (const std::string& problem : report.problems) ram::expect_one_line(problem);
  } catch (const ram::Error& error) {
    ram::expect_clear(error);
  }
  for (const auto& [name, text] : changed) write(kFinished.folder / name, kFinished.texts.at(name));
  return 0;
}
