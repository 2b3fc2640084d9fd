// Progress: a live line on a terminal, an occasional line in a log.
#include "ram/progress.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>

#include <fmt/format.h>
#include <unistd.h>

#include "ram/console.h"
#include "ram/text.h"

namespace ram::cli {

using Clock = std::chrono::steady_clock;

namespace {

// Live lines: often enough to look alive, rarely enough to cost nothing.
constexpr double kLiveInterval = 0.1;
// Redraws the line while the work does not report.
constexpr std::chrono::milliseconds kTick{500};

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

void enter_stage(const Common& common, std::string_view name) {
  if (!common.stages) return;
  const auto& names = common.stages->names;
  const auto found = std::find(names.begin(), names.end(), name);
  if (found != names.end()) common.stages->at = static_cast<size_t>(found - names.begin());
}

std::string progress_text(const Progress& progress, int64_t start_bytes, double seconds) {
  std::string text(progress.phase);
  if (progress.total > 0) {
    const double share = static_cast<double>(progress.done) / static_cast<double>(progress.total);
    text += fmt::format(" {:.0f} %", std::floor(100 * std::min(share, 1.0)));
  }
  const auto bytes = static_cast<double>(progress.done - start_bytes);
  if (seconds <= 0 || bytes <= 0) return text;
  const double rate = bytes / seconds;
  text += progress.counted.empty()
              ? fmt::format(", {:.2f} GB/s", rate / 1e9)
              : fmt::format(", {:.{}f} {}/s", rate, rate < 10 ? 1 : 0, progress.counted);
  const auto rest = static_cast<double>(progress.total - progress.done);
  if (rest > 0) text += fmt::format(", {} left", format_seconds(rest / rate));
  return text;
}

struct ProgressLine::State {
  explicit State(const Common& c) : common(c) {
    const int descriptor = fileno(common.io.err);
    live = descriptor >= 0 && isatty(descriptor) != 0;
  }
  ~State() { stop(); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  const Common& common;
  bool live = false;
  std::mutex mutex;
  std::condition_variable stopping;
  bool stopped = false;
  std::thread ticker;
  // The last report; `at.phase` is empty before the first one.
  Progress at;
  std::string phase;
  std::string counted;
  int64_t phase_start_bytes = 0;
  Clock::time_point phase_start;
  Clock::time_point drawn;
  bool line_open = false;

  // Without the ticks, the line would freeze when reports are rare.
  void start_ticking() {
    if (common.quiet) return;
    try {
      ticker = std::thread([this] {
        std::unique_lock lock(mutex);
        while (!stopping.wait_for(lock, kTick, [this] { return stopped; })) draw();
      });
    } catch (const std::system_error&) {
      // No thread is available: the line then changes only when the work reports.
    }
  }

  void stop() {
    {
      const std::lock_guard lock(mutex);
      stopped = true;
    }
    stopping.notify_all();
    if (ticker.joinable()) ticker.join();
  }

  void show(const Progress& progress) {
    const std::lock_guard lock(mutex);
    if (stopped) return;
    const bool begins = phase != progress.phase;
    at = progress;
    if (begins) {
      phase = progress.phase;
      counted = progress.counted;
      phase_start_bytes = progress.done;
      phase_start = Clock::now();
    }
    at.phase = phase;
    at.counted = counted;
    draw();
  }

  // Call with the lock held.
  void draw() {
    if (phase.empty()) return;
    Clock::time_point& last = live ? drawn : common.shown;
    if (since(last) < (live ? kLiveInterval : kLogInterval)) return;
    last = Clock::now();
    const double seconds = since(phase_start);
    std::string text = progress_text(at, phase_start_bytes, seconds);
    if (const Stages* stages = common.stages.get()) {
      text = fmt::format("stage {} of {}: {}", stages->at + 1, stages->names.size(), text);
    }
    const double all = since(common.stages ? common.stages->start : common.started);
    if (all >= 1) text += fmt::format("; {} so far", format_seconds(all));
    // "\x1b[K" erases to the end of the line.
    say(common, live ? fmt::format("\r{}\x1b[K", text) : fmt::format("ram: {}\n", text));
    line_open = live;
  }

  // Call with the lock held.
  void clear() {
    phase.clear();
    if (!line_open) return;
    say(common, "\r\x1b[K");
    line_open = false;
  }
};

ProgressLine::ProgressLine(const Common& common) : state_(std::make_unique<State>(common)) {
  state_->start_ticking();
}

ProgressLine::~ProgressLine() {
  state_->stop();
  clear();
}

ProgressFn ProgressLine::function() {
  if (state_->common.quiet) return {};
  return [state = state_.get()](const Progress& progress) { state->show(progress); };
}

void ProgressLine::clear() {
  const std::lock_guard lock(state_->mutex);
  state_->clear();
}

}  // namespace ram::cli
