# How the root image is made; its content is part of the image's key in the cache. Sourced by `build`.
# shellcheck shell=bash

readonly programs=(busybox-static redis-server redis-tools nginx)
readonly image_bytes=$((128 << 20))

# Every library that a program names is in the image: asked of the image's own loader.
check_libraries() {
  local root=$1 program missing
  for program in usr/bin/redis-server usr/bin/redis-cli usr/sbin/nginx; do
    missing=$("$root/lib64/ld-linux-x86-64.so.2" --library-path "$root/lib/x86_64-linux-gnu:$root/usr/lib/x86_64-linux-gnu" --list "$root/$program" |
      grep -vE "linux-vdso|$root" || true)
    [[ -z $missing ]] || die "the root image lacks a library of $program: $missing"
  done
}

build_image() {
  local root=$unfinished/root result=$unfinished/image package folder applet
  step "root image: from ${#packages[@]} packages"
  fetch "$unfinished/packages-root" "${packages[@]}"
  mkdir "$root" "$result"
  for package in "$unfinished"/packages-root/*.deb; do dpkg-deb -x "$package" "$root"; done
  rm -rf "${root:?}"/{etc,usr/share,usr/lib/x86_64-linux-gnu/gconv}
  # On a release whose packages have it all below /usr.
  for folder in bin lib lib64; do [[ -e $root/$folder || ! -e $root/usr/$folder ]] || ln -s "usr/$folder" "$root/$folder"; done
  mkdir -p "$root"/{bin,dev,proc,sys,run,tmp,srv/www,var/lib/redis}
  cp -R "$here/root/." "$root"
  sed -i '1i #!/bin/busybox sh' "$root/init"
  chmod 755 "$root/init"
  for applet in $("$root/bin/busybox" --list); do [[ -e $root/bin/$applet ]] || ln -s busybox "$root/bin/$applet"; done
  # A page that takes a dozen TCP segments, each line different.
  seq --format 'Understudy serves line %04.0f of a page that goes on where it was.' 250 >"$root/srv/www/page"
  check_libraries "$root"
  find "$root" -exec touch --no-dereference --date=2026-01-01 {} +
  truncate --size "$image_bytes" "$result/root.img"
  E2FSPROGS_FAKE_TIME=1767225600 logged "$cache/logs/mkfs" mkfs.ext4 -q -d "$root" -L root -U 6a3f8f52-2f0e-4b5e-9d0c-7d1f6f3c2a10 \
    -E root_owner=0:0,hash_seed=6a3f8f52-2f0e-4b5e-9d0c-7d1f6f3c2a11,lazy_itable_init=0,lazy_journal_init=0 "$result/root.img"
  keep "$result" "$image_entry"
}
