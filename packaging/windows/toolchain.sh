#!/usr/bin/env bash
# Makes a std for x86_64-pc-windows-gnu where rustup has none, and says how to use it.
#
#   toolchain.sh CACHE [SOURCES]
#
# CACHE is a folder that outlives the run. SOURCES are those of std: a folder that holds library/, a .deb or a tarball;
# without it, and without FIRSTMILE_STD_SOURCES, Debian's package rust-src of exactly the same version is fetched with apt from the machine's own mirror, under a
# configuration of its own, so that its signature is checked and the system's sources stay as they are.
#
# On stdout: one NAME=VALUE a line, for the environment of cargo. The rustup toolchain is not touched: std goes into a
# private sysroot beside links to the host's, and a wrapper calls rustc with it.
set -euo pipefail

TARGET=x86_64-pc-windows-gnu
GCC=x86_64-w64-mingw32-gcc

die() { echo "toolchain.sh: $*" >&2; exit 1; }
note() { echo "    $*" >&2; }

[ $# -ge 1 ] || die "name the cache folder"
mkdir -p "$1"
CACHE=$(realpath "$1")
SOURCES=${2:-${FIRSTMILE_STD_SOURCES:-}}
[ -z "$SOURCES" ] || SOURCES=$(realpath "$SOURCES")
unset RUSTC RUSTC_WORKSPACE_WRAPPER RUSTC_WRAPPER
command -v $GCC >/dev/null || die "$GCC is missing: install gcc-mingw-w64-x86-64-posix"

FACTS=$(rustc -vV)
RELEASE=$(sed -n 's/^release: //p' <<<"$FACTS")
HASH=$(sed -n 's/^commit-hash: //p' <<<"$FACTS")
HOST=$(sed -n 's/^host: //p' <<<"$FACTS")
SYSROOT=$(rustc --print sysroot)
has_std() { compgen -G "$1/lib/rustlib/$TARGET/lib/libstd-*.rlib" >/dev/null; }

echo "CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER=$GCC"
if has_std "$SYSROOT"; then
  note "rustup's std for $TARGET is there"
  exit 0
fi

# The last number: raise it when the recipe below changes.
MADE=$CACHE/$RELEASE-${HASH:0:9}-1

# Debian's rust-src of this release, as a .deb in $1.
fetch() {
  local at=$1/apt key=/usr/share/keyrings/debian-archive-keyring.gpg mirror suite version
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null \
    || die "no std for $TARGET: run 'rustup target add $TARGET', or name std's sources"
  mirror=$({ cat /etc/apt/sources.list.d/debian.sources 2>/dev/null || true; } | awk '/^URIs:/ {print $2; exit}')
  [ -n "$mirror" ] || mirror=$({ cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null || true; } \
    | sed -n 's/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*\/debian\/\{0,1\}\) .*/\2/p' | head -n1)
  [ -n "$mirror" ] || die "no Debian mirror in this machine's apt sources: name std's sources"
  mkdir -p "$at"/{state/lists/partial,cache/archives/partial}
  for suite in trixie-backports trixie forky sid; do
    echo "deb [signed-by=$key] $mirror $suite main"
  done >"$at/sources.list"
  cat >"$at/apt.conf" <<END
Dir::Etc::sourcelist "$at/sources.list";
Dir::Etc::sourceparts "-";
Dir::State "$at/state";
Dir::State::status "/dev/null";
Dir::Cache "$at/cache";
APT::Architecture "amd64";
APT::Sandbox::User "";
Acquire::Languages "none";
END
  export APT_CONFIG=$at/apt.conf
  apt-get update -qq >&2 || true # a mirror may lack one of the suites
  version=$(apt-cache madison rust-src | awk -F'|' '{gsub(/ /, "", $2); print $2}' | grep -E "^${RELEASE//./\\.}\+" | head -n1) || true
  [ -n "$version" ] || die "the mirror has no rust-src $RELEASE: run 'rustup target add $TARGET', or name std's sources"
  note "std's sources: Debian's rust-src $version"
  (cd "$1" && apt-get download -qq "rust-src=$version" >&2)
  unset APT_CONFIG
}

# std's sources as $1/src/library.
unpack() {
  local from=$SOURCES
  if [ -z "$from" ] && [ -d "$SYSROOT/lib/rustlib/src/rust/library/std" ]; then
    from=$SYSROOT/lib/rustlib/src/rust
  fi
  if [ -z "$from" ]; then
    fetch "$1"
    from=$(ls "$1"/rust-src_*.deb)
  fi
  case $from in
    *.deb)
      dpkg-deb -x "$from" "$1/deb"
      from=$(dirname "$(find "$1/deb" -maxdepth 5 -type d -name library -path '*/rustc-*' | head -n1)") ;;
    *.tar*)
      mkdir "$1/tar"
      tar -C "$1/tar" -xf "$from"
      from=$1/tar ;;
  esac
  [ -d "$from/library/std" ] || die "no library/std in $from"
  if [ -f "$from/RUST_VERSION" ] && [ "$(cat "$from/RUST_VERSION")" != "$RELEASE" ]; then
    die "these sources are of $(cat "$from/RUST_VERSION"), rustc is $RELEASE"
  fi
  mkdir -p "$1/src/library"
  tar -C "$from/library" --exclude=./vendor --exclude='./stdarch/crates/stdarch-*' -cf - . | tar -C "$1/src/library" -xf -
}

# As rustc's own bootstrap does it: the workspace library/, the profile dist, its crates marked unstable, and a salt that
# keeps them apart from the same crates of a user.
compile() {
  local at=$1 library=$1/sysroot/lib/rustlib/$TARGET/lib lock=--locked object
  mkdir -p "$library"
  ln -s "$SYSROOT/lib/rustlib/$HOST" "$at/sysroot/lib/rustlib/$HOST"
  printf '#!/bin/sh\nexec "%s/bin/rustc" --sysroot "%s" "$@"\n' "$SYSROOT" "$at/sysroot" >"$at/rustc"
  chmod +x "$at/rustc"
  note "compiling std $RELEASE for $TARGET, once"
  (
    for name in $(compgen -e | grep -E '^CARGO_(TARGET|BUILD|PROFILE|ENCODED)|^RUSTFLAGS$' || true); do unset "$name"; done
    cd "$at/src/library" # outside the project: its .cargo/config.toml does not apply
    [ -f Cargo.lock ] || lock=
    export RUSTC=$at/rustc RUSTC_BOOTSTRAP=1 __CARGO_DEFAULT_LIB_METADATA=winstd
    export CARGO_PROFILE_DIST_DEBUG=line-tables-only CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER=$GCC
    export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUSTFLAGS="-Zforce-unstable-if-unmarked --remap-path-prefix=$at/src=/rustc/$HASH"
    cargo build -q $lock --manifest-path sysroot/Cargo.toml --profile dist --target $TARGET \
      --target-dir "$at/build" --features "panic-unwind backtrace" >&2
    cp "$at"/build/$TARGET/dist/deps/*.rlib "$library/"
    for object in rsbegin rsend; do # rustc names them on every link line
      "$at/rustc" --target $TARGET --emit=obj -Cpanic=abort -o "$library/$object.o" rtstartup/$object.rs
    done
  )
}

exec 9>"$CACHE/lock"
flock 9 # a second caller waits, and finds it done
if ! { has_std "$MADE/sysroot" && [ "$("$MADE/bin/rustc" -vV 2>/dev/null)" = "$FACTS" ]; }; then
  rm -rf "$CACHE"/*.unfinished
  AT=$MADE.unfinished
  trap 'rm -rf "$AT"' EXIT
  mkdir -p "$AT"
  unpack "$AT"
  compile "$AT"
  rm -rf "$MADE"
  mkdir -p "$MADE/bin"
  mv "$AT/sysroot" "$MADE/sysroot"
  printf '#!/bin/sh\n# rustc with a Windows std beside the host'"'"'s\nexec "%s/bin/rustc" --sysroot "%s" "$@"\n' \
    "$SYSROOT" "$MADE/sysroot" >"$MADE/bin/rustc"
  chmod +x "$MADE/bin/rustc"
fi
echo "RUSTC=$MADE/bin/rustc"
echo "SYSROOT=$MADE/sysroot" # what clippy-driver reads
