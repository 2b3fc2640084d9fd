# shellcheck shell=bash
# The Python environments in which the tests run other programs: kept outside the clone, made once for
# each list of requirements, and reused. Sourced after lib.sh.

# interop_python mlx|peers: prints the interpreter of an environment with tests/interop/requirements-*.txt.
# Status 77 (skipped, with a message) if the packages cannot be installed.
interop_python() {
  local requirements="$ROOT/tests/interop/requirements-$1.txt" version key folder log
  if [ -n "${RAM_INTEROP_PYTHON:-}" ]; then
    printf '%s\n' "$RAM_INTEROP_PYTHON"
    return 0
  fi
  if ! command -v python3 >/dev/null; then
    say "skipped: interop: no python3"
    return 77
  fi
  version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  key=$(cat "$ROOT"/tests/interop/requirements-*.txt | cksum | cut -d ' ' -f 1)
  folder="${XDG_CACHE_HOME:-$HOME/.cache}/ram/venv-$1-$version-$key"
  # The mark is written last: an unfinished environment is made again.
  if [ ! -e "$folder/complete" ]; then
    say "interop: making $folder"
    rm -rf "$folder"
    mkdir -p "$(dirname "$folder")"
    log=$(mktemp)
    if ! { python3 -m venv "$folder" &&
      "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --retries 1 \
        --timeout 30 -r "$requirements"; } >"$log" 2>&1; then
      tail -n 5 "$log" >&2
      rm -rf "$log" "$folder"
      say "skipped: interop: the packages of $(basename "$requirements") cannot be installed here" \
        "(above); set RAM_INTEROP_PYTHON to an interpreter that has them"
      return 77
    fi
    rm -f "$log"
    touch "$folder/complete"
  fi
  printf '%s\n' "$folder/bin/python"
}
