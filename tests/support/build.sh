# What the scripts share: steps, errors, and building a preset. Sourced from the project's root, under `set -euo pipefail`.
# shellcheck shell=bash

script_name=${0##*/}
step() { printf '%s: %s\n' "$script_name" "$*"; }
die() {
  printf '%s: error: %s\n' "$script_name" "$*" >&2
  exit 2
}

# logged FILE COMMAND...: runs it with its output in FILE; shows the output's end only when it fails.
logged() {
  local file=$1 status=0
  shift
  "$@" >"$file" 2>&1 </dev/null || status=$?
  ((status == 0)) && return
  tail -n 40 -- "$file" >&2
  die "'$*' failed with status $status; all of its output is in $file"
}

# A compiler takes up to 1 GiB here, so memory bounds the jobs as well as the cores do.
build_jobs() {
  local cores gibibytes
  cores=$(nproc)
  gibibytes=$(awk '/^MemAvailable:/ { print int($2 / 1048576) }' /proc/meminfo)
  echo $((gibibytes < 1 ? 1 : gibibytes < cores ? gibibytes : cores))
}

# Configures the preset, so that its tests are known.
logged_configure() {
  mkdir -p "build/$1"
  logged "build/$1/configure.log" cmake --preset "$1"
}

# tests_of PRESET [ctest argument]...: the names of the tests that these arguments choose.
tests_of() {
  ctest --test-dir "build/$1" --show-only "${@:2}" | sed -n 's/^ *Test *#[0-9]*: \([^ ]*\).*/\1/p'
}

# build_preset NAME [TARGET...]: configures and builds it in build/NAME; without targets, everything.
build_preset() {
  local preset=$1 started=$SECONDS targets=()
  shift
  (($#)) && targets=(--target "$@")
  mkdir -p "build/$preset"
  step "$preset: building in build/$preset"
  # A clone that was moved would be refused by CMake for the old place in its cache: start that build folder afresh.
  local cache=build/$preset/CMakeCache.txt
  if [[ -f $cache ]] && ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$PWD" "$cache"; then
    rm -rf "build/$preset" && mkdir -p "build/$preset"
  fi
  logged_configure "$preset"
  local build=(cmake --build "build/$preset" --parallel "$(build_jobs)" "${targets[@]}")
  if [[ -t 1 ]]; then
    "${build[@]}" || die "building $preset failed: the compiler's words are above"
  else
    logged "build/$preset/build.log" "${build[@]}"
  fi
  step "$preset: built in $((SECONDS - started)) s"
}
