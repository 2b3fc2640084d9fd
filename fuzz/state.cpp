// state.json of an interrupted build: any text is ignored, or names existing files; nothing outside
// the work folder is touched.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "ram/file.h"

#include "scratch_folder.h"
#include "staging.h"

namespace {

namespace fs = std::filesystem;

void write(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const fs::path& root = ram::scratch_folder();
  const ram::OutPaths place = ram::resolve_out_folder(root / "OUT");
  fs::create_directories(place.work / "folder");
  write(place.work / "folder" / "model.safetensors", "0123456789");
  write(root / "outside", "0123456789");
  write(place.work / "state.json", {reinterpret_cast<const char*>(data), size});
  ram::Staging staging(place, "key");
  const bool kept = staging.finished("model.safetensors").has_value();
  if (kept != fs::exists(staging.folder() / "model.safetensors")) std::abort();
  if (staging.finished_bytes() != (kept ? 10 : 0)) std::abort();
  staging.discard();
  if (ram::read_text_file(root / "outside", 100) != "0123456789") std::abort();
  if (fs::exists(place.work) || fs::exists(place.out)) std::abort();
  return 0;
}
