// Mapping of the system's limits to codes.
#include "ram/error.h"

#include <cerrno>
#include <filesystem>
#include <new>
#include <system_error>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ram {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(CodeOfErrno, KnowsLimitsWhateverWasDone) {
  for (const bool writing : {false, true}) {
    for (const int full : {ENOSPC, EDQUOT, EFBIG, EROFS}) {
      EXPECT_EQ(code_of_errno(writing, full), Code::kWriteFailed) << full;
    }
    for (const int end : {ENOMEM, EAGAIN}) EXPECT_EQ(code_of_errno(writing, end), Code::kUsage);
    for (const int other : {EACCES, EPERM, ENOENT, EIO, EMFILE, ENFILE, ENOTDIR, ELOOP}) {
      EXPECT_EQ(code_of_errno(writing, other), writing ? Code::kWriteFailed : Code::kMissing);
    }
  }
}

std::system_error system_error(int number) {
  return {number, std::generic_category(), "cannot start"};
}

std::filesystem::filesystem_error file_error(int number) {
  return {"cannot look", "some/place", std::error_code(number, std::system_category())};
}

TEST(AsError, GivesEveryExceptionACodeAndAnAnswer) {
  const Error own = as_error(Error(Code::kCorrupt, "as it is"));
  EXPECT_EQ(own.code(), Code::kCorrupt);
  EXPECT_STREQ(own.what(), "as it is");
  EXPECT_EQ(as_error(std::bad_alloc()).code(), Code::kUsage);
  EXPECT_THAT(as_error(std::bad_alloc()).what(), HasSubstr("--memory"));
  const Error thread = as_error(system_error(EAGAIN));
  EXPECT_EQ(thread.code(), Code::kUsage);
  EXPECT_THAT(thread.what(), AllOf(HasSubstr("cannot start"), HasSubstr("--threads")));
  const Error denied = as_error(file_error(EACCES));
  EXPECT_EQ(denied.code(), Code::kMissing);
  EXPECT_THAT(denied.what(), AllOf(HasSubstr("some/place"), HasSubstr("Permission denied")));
  // It may have failed to create or rename, not to read.
  EXPECT_THAT(denied.what(), Not(HasSubstr("read")));
  EXPECT_EQ(as_error(file_error(EMFILE)).code(), Code::kMissing);
  EXPECT_THAT(as_error(file_error(EMFILE)).what(), HasSubstr("ulimit -n"));
  EXPECT_EQ(as_error(file_error(ENOSPC)).code(), Code::kWriteFailed);
  EXPECT_EQ(as_error(std::logic_error("unthought of")).code(), Code::kInternal);
  EXPECT_THAT(as_error(std::logic_error("unthought of")).what(), HasSubstr("please report"));
}

TEST(FailErrno, SaysWhatToDo) {
  for (const auto& [number, says] :
       {std::pair{ENOSPC, "free some space"}, std::pair{EFBIG, "ulimit -f"},
        std::pair{EMFILE, "ulimit -n"}}) {
    try {
      fail_errno(true, "cannot write", "a file", number);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kWriteFailed);
      EXPECT_THAT(error.what(), AllOf(HasSubstr("cannot write: a file"), HasSubstr(says)));
    }
  }
}

}  // namespace
}  // namespace ram
