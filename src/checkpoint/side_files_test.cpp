// Which files are copied, which are clutter, and where links may lead.
#include "side_files.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ram/mlx_layout.h"

#include "support/ordinary_user.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace ram {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::TempFolder;

std::vector<std::string> names_of(const SideFiles& files) {
  std::vector<std::string> names;
  names.reserve(files.carried.size());
  for (const CarriedFile& file : files.carried) names.push_back(file.name);
  return names;
}

TEST(SideFiles, what_a_user_needs_is_carried_and_nothing_else) {
  const TempFolder folder;
  testing::write_tiny_model(folder.path(), {.shards = 2});
  for (const char* name :
       {"merges.txt", "chat_template.jinja", "generation_config.json", "LICENSE", "NOTICE.txt",
        "modeling.py", "preprocessor_config.json", "README.md", "plan.json", "training_args.bin",
        ".gitattributes", "tokenizer.model", "special_tokens_map.json", "optimizer.pt",
        "added_tokens.json", "vocab.json"}) {
    write_file_atomic(folder / name, "12345");
  }
  fs::create_directories(folder / "LICENSES");
  const SideFiles files = find_side_files(folder.path(), "");
  for (const CarriedFile& file : files.carried) {
    EXPECT_EQ(file.bytes, static_cast<int64_t>(fs::file_size(folder / file.name)));
  }
  EXPECT_THAT(names_of(files),
              ElementsAre("LICENSE", "NOTICE.txt", "added_tokens.json", "chat_template.jinja",
                          "generation_config.json", "merges.txt", "modeling.py",
                          "preprocessor_config.json", "special_tokens_map.json", "tokenizer.json",
                          "tokenizer.model", "tokenizer_config.json", "vocab.json"));
  EXPECT_THAT(files.notes, IsEmpty());
}

TEST(SideFiles, chat_templates_in_their_folder_are_carried_and_counted) {
  const TempFolder folder;
  testing::write_tiny_model(folder.path(), {});
  fs::create_directories(folder / "additional_chat_templates" / "deeper");
  write_file_atomic(folder / "additional_chat_templates/tool_use.jinja", "{{ messages }}");
  write_file_atomic(folder / "additional_chat_templates/rag.jinja", "{{ x }}");
  write_file_atomic(folder / "additional_chat_templates/notes.txt", "x");
  write_file_atomic(folder / "additional_chat_templates/._rag.jinja", "x");
  write_file_atomic(folder / "additional_chat_templates/deeper/x.jinja", "x");
  EXPECT_THAT(
      names_of(find_side_files(folder.path(), "")),
      ElementsAre("additional_chat_templates/rag.jinja", "additional_chat_templates/tool_use.jinja",
                  "tokenizer.json", "tokenizer_config.json"));
  const Checkpoint checkpoint = Checkpoint::open(folder.path().string());
  const std::vector<UnitFormat> formats(checkpoint.units.size());
  const FolderLayout layout = layout_folder(checkpoint, formats, DType::kBF16);
  EXPECT_EQ(layout.carried_files.size(), 4U);
}

TEST(SideFiles, clutter_is_known_wherever_it_lies) {
  for (const char* name :
       {".DS_Store", "._config.json", "._x.py", ".gitattributes", ".gitignore", ".git/config",
        ".cache/huggingface/download/model.safetensors.metadata", "__pycache__/modeling.py",
        ".ipynb_checkpoints/x.py", "Thumbs.db", "desktop.ini", "__MACOSX/._LICENSE",
        "additional_chat_templates/.DS_Store", "additional_chat_templates/._x.jinja",
        ".nfs000000000123"}) {
    EXPECT_EQ(side_file(name), SideFile::kClutter) << name;
  }
  for (const char* name : {"notes.txt", "model.safetensors", "config.json", ".env", ".x.py",
                           "cache/x", "DS_Store", "deep/tokenizer.json", "tokenizer.json.bak",
                           "additional_chat_templates/a/b.jinja", "x/LICENSE", ""}) {
    EXPECT_EQ(side_file(name), SideFile::kOther) << name;
  }
}

TEST(SideFiles, sidecars_of_macos_and_hidden_files_are_not_carried) {
  const TempFolder folder;
  for (const char* name : {"._chat_template.jinja", "._modeling_x.py", "._LICENSE", ".secret.py",
                           ".DS_Store", "modeling_x.py"}) {
    write_file_atomic(folder / name, "x");
  }
  EXPECT_THAT(names_of(find_side_files(folder.path(), "")), ElementsAre("modeling_x.py"));
}

TEST(SideFiles, links_are_followed_inside_the_folder_and_into_the_cache_only) {
  const TempFolder place;
  const fs::path folder = place / "m";
  fs::create_directories(folder / "texts");
  write_file_atomic(place / "secret", "PRIVATE KEY");
  write_file_atomic(folder / "texts/terms", "terms");
  fs::create_symlink("texts/terms", folder / "LICENSE");
  fs::create_symlink("../secret", folder / "LICENSE.key");
  fs::create_symlink(place / "secret", folder / "NOTICE");
  fs::create_symlink("LICENSE.key", folder / "USE_POLICY.md");  // a link to a link
  fs::create_directory_symlink("..", folder / "up");
  fs::create_symlink("up/secret", folder / "chat_template.jinja");
  fs::create_symlink("tokenizer.json", folder / "tokenizer.json");  // a circle
  fs::create_symlink("nowhere", folder / "merges.txt");
  const SideFiles files = find_side_files(folder, ": fetch it");
  EXPECT_THAT(names_of(files), ElementsAre("LICENSE"));
  EXPECT_THAT(files.notes,
              ElementsAre(HasSubstr("LICENSE.key is a link out of the model's folder"),
                          HasSubstr("NOTICE is a link out"), HasSubstr("USE_POLICY.md is a link"),
                          HasSubstr("chat_template.jinja is a link out"),
                          HasSubstr("merges.txt is a dangling link"),
                          HasSubstr("tokenizer.json is a dangling link")));
  EXPECT_THAT(files.notes[4], HasSubstr(": fetch it"));
  // The folder itself may be reached through a link.
  fs::create_directory_symlink(folder, place / "linked");
  EXPECT_THAT(names_of(find_side_files(place / "linked", "")), ElementsAre("LICENSE"));
}

TEST(SideFiles, a_file_that_cannot_be_named_or_read_is_not_carried) {
  const TempFolder folder;
  write_file_atomic(folder / "LICENSE\xe9", "x");
  write_file_atomic(folder / "NOTICE\x1b[31m", "x");
  write_file_atomic(folder / "NOTICE\n", "x");
  write_file_atomic(folder / "LICENSE-caf\u00e9", "x");
  fs::create_directories(folder / "chat_template.jinja");
  SideFiles files = find_side_files(folder.path(), "");
  EXPECT_THAT(names_of(files), ElementsAre("LICENSE-caf\u00e9"));
  EXPECT_EQ(files.notes.size(), 3U);
  for (const std::string& text : files.notes) EXPECT_THAT(text, HasSubstr("is not printable"));
  fs::permissions(folder / "LICENSE-caf\u00e9", fs::perms::none);
  testing::open_to_others(folder.path());
  const std::optional<int> status = testing::as_ordinary_user([&] {
    files = find_side_files(folder.path(), "");
    if (!files.carried.empty()) return 1;
    return files.notes.front().find("OUT gets no LICENSE-caf") == std::string::npos ? 2 : 0;
  });
  if (!status) GTEST_SKIP() << "skipped: root cannot become another user";
  EXPECT_EQ(status, 0);
}

TEST(SideFiles, chat_templates_that_cannot_be_read_are_named) {
  const TempFolder folder;
  ASSERT_EQ(mkfifo((folder / "chat_template.jinja").c_str(), S_IRUSR | S_IWUSR), 0);
  const fs::path below = folder / "additional_chat_templates";
  fs::create_symlink("nowhere", below);
  const auto notes = [&] { return find_side_files(folder.path(), "").notes; };
  EXPECT_THAT(notes(),
              ElementsAre(HasSubstr("OUT gets none of additional_chat_templates"),
                          HasSubstr("OUT gets no chat_template.jinja: it is not a regular")));
  fs::remove(below);
  fs::create_directories(below);
  EXPECT_EQ(notes().size(), 1U);
  fs::permissions(below, fs::perms::none);
  testing::open_to_others(folder.path());
  const std::optional<int> status = testing::as_ordinary_user([&] {
    return notes().front().find("OUT gets none of additional_chat_templates") == std::string::npos;
  });
  EXPECT_TRUE(!status || *status == 0);
  fs::permissions(below, fs::perms::owner_all);
}

TEST(SideFiles, what_is_read_through_a_link_is_said) {
  const TempFolder place;
  testing::write_tiny_model(place / "m", {.shards = 2});
  fs::create_directories(place / "elsewhere");
  for (const char* name :
       {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "config.json"}) {
    fs::rename(place / "m" / name, place / "elsewhere" / name);
    fs::create_symlink(fs::path("../elsewhere") / name, place / "m" / name);
  }
  write_file_atomic(place / "elsewhere/README.md", "---\nlicense: mit\n---\n");
  fs::create_symlink("../elsewhere/README.md", place / "m/README.md");
  const Checkpoint checkpoint = Checkpoint::open((place / "m").string());
  EXPECT_THAT(checkpoint.notes,
              ElementsAre(HasSubstr("model-00001-of-00002.safetensors is a link out of the model's "
                                    "folder and is read at")));
  EXPECT_THAT(checkpoint.notes.front(), HasSubstr("; so are 2 more files"));
  EXPECT_EQ(checkpoint.card.licence, "");
}

TEST(SideFiles, folders_of_templates_that_link_elsewhere_are_not_followed) {
  const TempFolder place;
  fs::create_directories(place / "m");
  fs::create_directories(place / "elsewhere");
  write_file_atomic(place / "elsewhere/x.jinja", "x");
  fs::create_directory_symlink("../elsewhere", place / "m/additional_chat_templates");
  const SideFiles files = find_side_files(place / "m", "");
  EXPECT_THAT(files.carried, IsEmpty());
  EXPECT_THAT(files.notes, ElementsAre(HasSubstr("additional_chat_templates/x.jinja is a link")));
}

TEST(SideFiles, the_cache_of_hugging_face_links_to_its_blobs) {
  const TempFolder cache;
  const fs::path repository = cache / "models--Org--Name";
  fs::create_directories(repository / "blobs");
  fs::create_directories(repository / "snapshots/abc");
  write_file_atomic(repository / "blobs/0a1b", "{}");
  fs::create_symlink("../../blobs/0a1b", repository / "snapshots/abc/tokenizer.json");
  fs::create_symlink("../../blobs/ffff", repository / "snapshots/abc/tokenizer_config.json");
  const SideFiles files = find_side_files(repository / "snapshots/abc", ": fetch it");
  EXPECT_THAT(names_of(files), ElementsAre("tokenizer.json"));
  EXPECT_THAT(files.notes, ElementsAre(HasSubstr("tokenizer_config.json is a dangling link")));
  // A folder of links into the cache, as users create by hand.
  fs::create_directories(cache / "mine");
  fs::create_symlink(repository / "snapshots/abc/tokenizer.json", cache / "mine/tokenizer.json");
  EXPECT_THAT(names_of(find_side_files(cache / "mine", "")), ElementsAre("tokenizer.json"));
}

}  // namespace
}  // namespace ram
