# How the kernel is made; its content is part of the kernel's key in the cache. Sourced by `build`.
# shellcheck shell=bash

readonly kernel_package=linux-source-6.12

configuration() {
  cat "$here/defconfig" "$here/devices.config"
  printf '%s' "$processors"
}

# A line that Kconfig did not take over would be missing in silence.
check_configuration() {
  local line name
  while read -r line; do
    case $line in
      CONFIG_*) grep -qxF -- "$line" .config || die "the kernel's configuration lost '$line'" ;;
      '# CONFIG_'*' is not set')
        name=${line#'# '}
        ! grep -q "^${name% is not set}=" .config || die "the kernel's configuration lost '$line'"
        ;;
    esac
  done < <(cat "$here/devices.config" && printf '%s' "$processors")
}

build_kernel() {
  local source=$unfinished/source result=$unfinished/kernel started=$SECONDS
  step "kernel: fetching $kernel_version"
  fetch "$unfinished/packages" "$kernel_package"
  mkdir "$source" "$result"
  dpkg-deb --fsys-tarfile "$unfinished"/packages/*.deb | tar -xO "./usr/src/$kernel_package.tar.xz" | tar -xJ -C "$source" --strip-components=1
  step "kernel: building; about four minutes on two idle cores"
  (
    cd "$source"
    logged "$cache/logs/patch" patch -p1 -i "$here/ring0-emulated-kvm.patch"
    configuration >.config
    export KBUILD_BUILD_TIMESTAMP=2026-01-01 KBUILD_BUILD_USER=understudy KBUILD_BUILD_HOST=lab KBUILD_BUILD_VERSION=1
    logged "$cache/logs/configure" make olddefconfig
    check_configuration
    logged "$cache/logs/make" make -j"$(build_jobs)" vmlinux
  )
  mv "$source/.config" "$result/config"
  strip --strip-debug -o "$result/vmlinux" "$source/vmlinux"
  keep "$result" "$kernel_entry"
  step "kernel: built in $((SECONDS - started)) s"
}
