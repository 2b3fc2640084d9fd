// Printing, and reading stdin.
#include "ram/console.h"

#include <cerrno>
#include <cstdio>

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include "ram/cancellation.h"
#include "ram/error.h"
#include "ram/json_text.h"
#include "ram/size.h"
#include "ram/text.h"

namespace ram::cli {

std::string error_document(int status, const std::string& message,
                           std::optional<int64_t> min_safe_bytes) {
  Json document = {{"error", {{"status", status}, {"message", message}}}};
  if (min_safe_bytes) document["min_safe_bytes"] = *min_safe_bytes;
  return json_text(document);
}

void print_data(const Common& common, std::string_view text) {
  common.result_begun = true;
  if (common.reader_gone) return;
  const size_t written = std::fwrite(text.data(), 1, text.size(), common.io.out);
  if (written == text.size() && std::fflush(common.io.out) == 0) return;
  if (errno == EPIPE) {
    common.reader_gone = true;
    return;
  }
  fail_errno(true, "cannot write the result", "standard output", errno);
}

void print_result(const Common& common, std::string_view text) {
  if (common.json) return print_data(common, text);
  print_data(common, printable_lines(text));
}

void print_document(const Common& common, const Json& document) {
  print_result(common, json_text(document));
}

std::string read_input(const Common& common, int64_t most) {
  constexpr int kWaitMs = 200;  // so that Ctrl-C ends the wait
  std::string text;
  char buffer[1 << 16];
  pollfd waiting = {.fd = fileno(common.io.in), .events = POLLIN, .revents = 0};
  for (;;) {
    check_interrupted();
    const int ready = poll(&waiting, 1, kWaitMs);
    if (ready == 0 || (ready < 0 && errno == EINTR)) continue;
    const ssize_t count = read(waiting.fd, buffer, sizeof buffer);
    if (count == 0) return text;
    if (count > 0) {
      text.append(buffer, static_cast<size_t>(count));
      if (std::ssize(text) > most) {
        fail(Code::kUsage,
             "stdin has more than the {} that fit in memory: give more --memory, or less text at a "
             "time",
             format_bytes(most));
      }
    } else if (errno != EINTR && errno != EAGAIN) {
      fail_errno(false, "cannot read", "stdin", errno);
    }
  }
}

void say(const Common& common, std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), common.io.err);
  std::fflush(common.io.err);
}

void note(const Common& common, std::string_view text) {
  if (!common.quiet) {
    say(common, fmt::format("ram: note: {}\n", printable(text, std::string_view::npos)));
  }
}

}  // namespace ram::cli
