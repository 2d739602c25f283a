#!/bin/sh
# few_images.sh FROM TO: the first 256 and 128 images of MNIST, for an emulated GPU.
# SPDX-License-Identifier: MIT
mkdir -p "$2" && cd "$2" || exit 1
# part FROM FILE RANK COUNT SIZES FIRST_BYTE BYTES: cut from a file, with the count in its header set.
part() {
    # shellcheck disable=SC2059 # the header stands in the format on purpose
    { printf '\000\000\010\00'"$3"'\000\000'"$4$5" && tail -c +"$6" "$1/$2" | head -c "$7"; } >"$2"
}
part "$1" train-images-idx3-ubyte 3 '\001\000' '\000\000\000\034\000\000\000\034' 17 $((256 * 784))
part "$1" train-labels-idx1-ubyte 1 '\001\000' '' 9 256
part "$1" t10k-images-idx3-ubyte 3 '\000\200' '\000\000\000\034\000\000\000\034' 17 $((128 * 784))
part "$1" t10k-labels-idx1-ubyte 1 '\000\200' '' 9 128
