#!/bin/sh
# Installs what hillock needs to be built, where it is missing, and says what it does.
#   ./bootstrap.sh && cmake --workflow --preset mnist
#   ./bootstrap.sh COMMAND...     the same, then runs COMMAND; this works even where the system's CMake is too old
#   ./bootstrap.sh --cuda ...     before either: also what is needed to build for NVIDIA GPUs, nvcc, where there is none
# SPDX-License-Identifier: MIT
set -eu
cd "$(dirname "$0")"
PATH=$PATH:/usr/sbin:/sbin

say() { echo "bootstrap: $*"; }

cuda=no
if [ "${1-}" = --cuda ]; then
    cuda=yes
    shift
fi

# What is needed, and the packages that hold it; + stands between two packages, - where a system has its own or none. The
# first three are what nothing can be built without.
#   what       apt                   dnf                 pacman    brew
table='
    compiler   gcc+libc6-dev         gcc+glibc-devel     gcc       -
    ninja      ninja-build           ninja-build         ninja     ninja
    cmake      cmake                 cmake               cmake     cmake
    zlib       zlib1g-dev            zlib-devel          zlib      zlib
    pkg-config pkg-config            pkgconf-pkg-config  pkgconf   pkgconf
    OpenBLAS   libopenblas0-pthread  openblas-threads    openblas  openblas
    cmocka     libcmocka-dev         libcmocka-devel     cmocka    cmocka
    libmd      libmd-dev             libmd-devel         libmd     -
    gnuplot    gnuplot-nox           gnuplot-minimal     gnuplot   gnuplot
    c++        g++                   gcc-c++             gcc       -
    stb        libstb-dev            stb-devel           stb       -
'

has() { command -v "$1" >/dev/null 2>&1; }
has_header() { echo "#include <$1>" | cc -I/opt/homebrew/include -E - >/dev/null 2>&1; }
version_of() { "$1" --version 2>/dev/null | sed -n 's/^cmake version \([0-9]*\)\.\([0-9]*\).*/\1 \2/p'; }
new_enough() { # CMake 3.25 or later, which knows --workflow
    set -- $(version_of "$1")
    [ "${1:-0}" -gt 3 ] || { [ "${1:-0}" -eq 3 ] && [ "$2" -ge 25 ]; }
}
is_there() {
    case $1 in
        compiler) has cc && has_header stdio.h ;;
        zlib) has_header zlib.h ;;
        ninja) has ninja || [ -x .venv/bin/ninja ] ;;
        cmake) new_enough cmake || new_enough .venv/bin/cmake ;;
        pkg-config) has pkg-config ;;
        OpenBLAS) ldconfig -p 2>/dev/null | grep -q libopenblas || [ -e /opt/homebrew/opt/openblas ] ||
            [ -e /usr/local/opt/openblas ] ;;
        cmocka) has_header cmocka.h ;;
        libmd) has_header sha256.h ;;
        gnuplot) has gnuplot ;;
        c++) [ $cuda = no ] || has g++ || has c++ ;; # nvcc hands it what is for the CPU
        stb) has_header stb/stb_image_write.h || has_header stb_image_write.h ;;
    esac
}
look() { # sets missing (what) and packages (their names here)
    missing='' packages=''
    while read -r what apt dnf pacman brew; do
        if [ -z "$what" ] || is_there "$what"; then continue; fi
        case $manager in apt-get) p=$apt ;; dnf) p=$dnf ;; pacman) p=$pacman ;; brew) p=$brew ;; *) p= ;; esac
        [ "$p" != - ] || [ "$what" = compiler ] || continue
        missing="$missing $what"
        [ "$p" = - ] || packages="$packages $(echo "$p" | tr + ' ')"
    done <<END
$table
END
    packages=${packages# }
}

manager='' install=''
for m in apt-get dnf pacman brew; do
    if has $m; then manager=$m; break; fi
done
case $manager in
    apt-get) install='apt-get install -y -q --no-install-recommends' ;;
    dnf) install='dnf install -y' ;;
    pacman) install='pacman -S --needed --noconfirm' ;;
    brew) install='brew install' ;;
esac

# How to become root: not needed, through sudo, or impossible.
root=impossible
if [ "$(id -u)" -eq 0 ] || [ "$manager" = brew ]; then
    root=
elif has sudo && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
    root=sudo
fi

get() { # get PACKAGE...: all at once; if a name is unknown here, one after the other
    [ "$manager" != apt-get ] || $root apt-get update -q || say "apt-get update failed; using the lists that are here"
    $root env DEBIAN_FRONTEND=noninteractive $install "$@" && return
    for p in "$@"; do
        $root env DEBIAN_FRONTEND=noninteractive $install "$p" || say "could not install $p"
    done
}
from_pypi() { # from_pypi PACKAGE...: into the folder .venv; changes nothing elsewhere
    if [ "$manager" = apt-get ] && [ "$root" != impossible ] && ! python3 -c 'import ensurepip' 2>/dev/null; then
        get python3-venv
    fi
    if ! { python3 -m venv .venv && .venv/bin/pip install -q --retries 2 --disable-pip-version-check "$@"; }; then
        say "that failed (it needs python3 with venv, and pypi.org)"
        return 1
    fi
}
has_nvcc() {
    for nvcc in nvcc /usr/local/cuda/bin/nvcc /opt/cuda/bin/nvcc $pypi_cuda/bin/nvcc; do
        if $nvcc --version >/dev/null 2>&1; then return; fi
    done
    return 1
}
pypi_cuda='.venv/lib/python3*/site-packages/nvidia/cu13'
get_nvcc() { # all parts of one release: pip would mix them
    say "no nvcc: getting CUDA's compiler and runtime from PyPI into the folder .venv"
    v='==13.0.*'
    from_pypi "nvidia-cuda-nvcc$v" "nvidia-nvvm$v" "nvidia-cuda-crt$v" "nvidia-cuda-runtime$v" || return
    for folder in $pypi_cuda; do
        [ -e "$folder/lib64" ] || ln -s lib "$folder/lib64" # where nvcc looks
    done
}

look
if [ -z "$missing" ]; then
    say "everything is there, nothing to install"
elif [ -n "$packages" ] && [ "$root" != impossible ]; then
    say "missing:$missing"
    say "installing with ${root:+$root }$manager: $packages"
    get $packages
    look
    [ -n "$missing" ] || say "done"
fi
if ! is_there cmake || ! is_there ninja; then
    say "no CMake 3.25 or later, or no Ninja: getting both from PyPI into the folder .venv"
    from_pypi 'cmake>=3.25' ninja || true
    look
fi
if [ $cuda = yes ] && ! has_nvcc; then
    get_nvcc || { say "nothing can be built for NVIDIA GPUs without nvcc"; exit 1; }
fi

if [ -n "$missing" ]; then
    say "still missing:$missing"
    if [ -n "$packages" ] && [ "$root" = impossible ]; then
        say "that needs an administrator, and this line:"
        echo "    $install $packages"
    fi
    [ "$manager" != brew ] || is_there compiler || say "for the compiler: xcode-select --install"
    [ -n "$manager" ] || say "no package manager that this script knows (apt, dnf, pacman, brew) is here"
    for what in compiler ninja cmake; do
        case "$missing " in *" $what "*) say "nothing can be built without $what"; exit 1 ;; esac
    done
    say "going on without: the summary of configure tells what that switches off"
fi

# The tools in .venv must come first in PATH. This script can see to that for the command it is given, and for nothing else.
if ! new_enough cmake || ! has ninja; then
    PATH=$PWD/.venv/bin:$PATH
    if [ $# -eq 0 ]; then
        say "your cmake or ninja is missing or too old; those in .venv are used by commands that begin like this one:"
        echo "    ./bootstrap.sh cmake --workflow --preset mnist"
        say "or in this shell from now on, after:"
        echo "    export PATH=\"$PWD/.venv/bin:\$PATH\""
        exit 1
    fi
fi
[ $# -eq 0 ] || exec "$@"
