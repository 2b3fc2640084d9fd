# shellcheck shell=bash
# Shared by the scripts: the clone's folder, messages, and the installation of missing tools.
# Sourced, never run. Debian packages are installed by apt-get (root or sudo), Homebrew's by brew; if nothing
# is missing, the check costs one query and changes nothing.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Packages for a build, additional ones for the tests, and additional ones for the presets tidy and fuzz.
# ocl-icd-opencl-dev: not used, but the CMake file of libdnnl-dev requires it.
DEBIAN_BUILD="g++ cmake ninja-build pkg-config git libfmt-dev nlohmann-json3-dev libcli11-dev
  libsqlite3-dev zlib1g-dev libxxhash-dev libmd-dev libhwy-dev libdnnl-dev ocl-icd-opencl-dev
  libeigen3-dev libboost-math-dev libpcre2-dev
  libutf8proc-dev libgtest-dev libgmock-dev libbenchmark-dev"
DEBIAN_TEST="python3 python3-venv locales clang-format-16 clang-16 libclang-rt-16-dev lld-16"
DEBIAN_CLANG="clang-tidy-16"
BREW_BUILD="cmake ninja pkgconf fmt nlohmann-json cli11 sqlite zlib xxhash libmd highway onednn eigen boost pcre2
  utf8proc googletest google-benchmark"
BREW_TEST="python3"
BREW_CLANG="llvm"

say() { printf '%s\n' "$*" >&2; }

die() {
  say "$(basename "$0"): $*"
  exit 1
}

# Runs a command as root: directly, or through sudo; without a terminal sudo must not ask.
as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif ! command -v sudo >/dev/null; then
    return 127
  elif [ -t 0 ]; then
    sudo "$@"
  else
    sudo -n "$@"
  fi
}

apt_quiet() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Dpkg::Use-Pty=0 \
    -o DPkg::Lock::Timeout=300 "$@"
}

# missing_debian PACKAGE...: prints those that are not installed.
missing_debian() {
  local package
  local installed
  installed=" $(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null |
    sed -n 's/^installed //p' | tr '\n' ' ')"
  for package in "$@"; do
    case "$installed" in *" $package "*) ;; *) printf '%s ' "$package" ;; esac
  done
}

setup_debian() {
  local missing log
  missing=$(missing_debian "$@")
  [ -n "$missing" ] || return 0
  say "installing: $missing"
  if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
    die "no root and no sudo here; as root: apt-get install $missing"
  fi
  log=$(mktemp)
  # shellcheck disable=SC2086
  # The package lists may be missing or old: they are fetched only if the first try fails.
  if ! apt_quiet install --no-install-recommends $missing >"$log" 2>&1; then
    apt_quiet update >"$log" 2>&1 &&
      apt_quiet install --no-install-recommends $missing >>"$log" 2>&1 || {
      tail -n 20 "$log" >&2
      rm -f "$log"
      die "apt-get failed (above); by hand: apt-get install $missing"
    }
  fi
  rm -f "$log"
}

setup_brew() {
  local formula missing="" installed
  installed=" $(brew list --formula -1 | tr '\n' ' ')"
  for formula in "$@"; do
    # Any python3 will do: the command line tools bring one.
    if [ "$formula" = python3 ] && command -v python3 >/dev/null; then continue; fi
    case "$installed" in *" $formula "*) ;; *) missing="$missing $formula" ;; esac
  done
  [ -n "$missing" ] || return 0
  say "installing:$missing"
  # shellcheck disable=SC2086
  brew install --quiet $missing >&2 || die "brew failed (above); by hand: brew install$missing"
}

# setup build|test|clang: each includes the one before. RAM_NO_SETUP=1 leaves the machine as it is.
setup() {
  local debian="$DEBIAN_BUILD" brew="$BREW_BUILD"
  [ -z "${RAM_NO_SETUP:-}" ] || return 0
  case "$1" in
    build) ;;
    test) debian="$debian $DEBIAN_TEST" brew="$brew $BREW_TEST" ;;
    clang)
      debian="$debian $DEBIAN_TEST $DEBIAN_CLANG"
      brew="$brew $BREW_TEST $BREW_CLANG"
      ;;
    *) die "setup $1: build, test or clang" ;;
  esac
  # shellcheck disable=SC2086
  if [ "$(uname)" = Darwin ]; then
    command -v brew >/dev/null || die "Homebrew is needed on macOS: https://brew.sh"
    setup_brew $brew
  elif command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; then
    setup_debian $debian
  else
    die "neither apt-get nor brew found; install the packages named in docs/decisions/0001-dependencies.md," \
      "then run this with RAM_NO_SETUP=1"
  fi
}

processors() { getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2; }

# configure PRESET: quiet unless it fails; uses ccache if it is installed. A new sanitized build is compiled by Clang
# if it is installed, in a third of GCC's time; the optimized one, which users run, always by the system's compiler. A
# new build compiles several sources as one (RAM_UNITY).
configure() {
  local log launcher="" unity="" compiler=${CXX:-}
  if [ ! -e "$ROOT/build/$1/CMakeCache.txt" ]; then unity=-DRAM_UNITY=ON; fi
  if command -v ccache >/dev/null; then launcher=-DCMAKE_CXX_COMPILER_LAUNCHER=ccache; fi
  case "$1" in dev | tsan) [ -n "$compiler" ] || compiler=$(command -v clang++-16 || true) ;; esac
  log=$(mktemp)
  # shellcheck disable=SC2086
  if ! (cd "$ROOT" && env ${compiler:+"CXX=$compiler"} cmake --preset "$1" $launcher $unity) >"$log" 2>&1; then
    cat "$log" >&2
    rm -f "$log"
    say "cmake --preset $1 failed (above)"
    return 1
  fi
  rm -f "$log"
}
