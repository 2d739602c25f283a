#!/bin/sh
# Fetches data sets in MNIST's format from their official places into data/NAME, and checks every file's SHA-256.
#   data/get.sh fashion|kmnist [DIR]       then: build/mnist_mlp --data data/fashion
# HILLOCK_DATA_URL=URL fetches from another place (a mirror, file:///...); the sums stay the same.
# Nothing in hillock needs these data sets; MNIST itself is in data/mnist.
# SPDX-License-Identifier: MIT
set -eu

# The sums are those of the files that both projects publish (also listed by torchvision).
case ${1:-} in
    fashion) # Fashion-MNIST, Zalando Research, MIT licence, https://github.com/zalandoresearch/fashion-mnist
        url=https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion
        sums='3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84  train-images-idx3-ubyte.gz
a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845  train-labels-idx1-ubyte.gz
346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073  t10k-images-idx3-ubyte.gz
67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5  t10k-labels-idx1-ubyte.gz' ;;
    kmnist) # Kuzushiji-MNIST, ROIS-DS Center for Open Data in the Humanities, CC BY-SA 4.0, http://codh.rois.ac.jp/kmnist
        url=http://codh.rois.ac.jp/kmnist/dataset/kmnist
        sums='51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4  train-images-idx3-ubyte.gz
e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17  train-labels-idx1-ubyte.gz
edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5  t10k-images-idx3-ubyte.gz
20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c  t10k-labels-idx1-ubyte.gz' ;;
    *)
        echo "usage: data/get.sh fashion|kmnist [DIR]" >&2
        exit 2 ;;
esac
url=${HILLOCK_DATA_URL:-$url}
dir=${2:-$(dirname "$0")/$1}

if command -v curl >/dev/null; then
    download() { curl -fL --retry 3 --progress-bar -o "$2" "$1"; }
elif command -v wget >/dev/null; then
    download() { wget -O "$2" "$1"; }
else
    echo "data/get.sh: needs curl or wget: install one of them" >&2
    exit 1
fi
if command -v sha256sum >/dev/null; then
    sum_of() { sha256sum "$1" | cut -c1-64; }
else
    sum_of() { shasum -a 256 "$1" | cut -c1-64; }
fi

mkdir -p "$dir"
part=$dir/unfinished
trap 'rm -f "$part"' EXIT
echo "$sums" | while read -r sum name; do
    if [ -f "$dir/$name" ] && [ "$(sum_of "$dir/$name")" = "$sum" ]; then
        echo "$dir/$name: here already, checked"
        continue
    fi
    echo "$url/$name"
    download "$url/$name" "$part" || { echo "data/get.sh: could not fetch $url/$name" >&2; exit 1; }
    found=$(sum_of "$part")
    if [ "$found" != "$sum" ]; then
        echo "data/get.sh: $url/$name has SHA-256 $found, expected $sum: not kept" >&2
        exit 1
    fi
    mv "$part" "$dir/$name"
done
echo "$dir is complete. Train on it:   build/mnist_mlp --data $dir"
