# The first items of MNIST as the data set `tiny` in the current folder, raw and gzipped. Sourced after cli.sh.
# SPDX-License-Identifier: MIT

# images FILE COUNT COUNT_IN_OCTAL_BYTES: cut from FILE, with the header's count set.
images() {
    # shellcheck disable=SC2059 # the count stands in the format on purpose
    printf '\000\000\010\003\000\000'"$3"'\000\000\000\034\000\000\000\034'
    gzip -dc "$source/data/mnist/$1-images-idx3-ubyte.gz" 2>/dev/null | tail -c +17 | head -c $(($2 * 784))
}
labels() {
    # shellcheck disable=SC2059
    printf '\000\000\010\001\000\000'"$3"
    gzip -dc "$source/data/mnist/$1-labels-idx1-ubyte.gz" 2>/dev/null | tail -c +9 | head -c "$2"
}
mkdir tiny
images train 256 '\001\000' >tiny/train-images-idx3-ubyte
labels train 256 '\001\000' >tiny/train-labels-idx1-ubyte
images t10k 128 '\000\200' | gzip >tiny/t10k-images-idx3-ubyte.gz
labels t10k 128 '\000\200' | gzip >tiny/t10k-labels-idx1-ubyte.gz
