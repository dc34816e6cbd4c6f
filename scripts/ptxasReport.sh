#!/bin/sh
# Runs nvcc and leaves beside the object what ptxas says of its kernels (OBJECT.ptxas) and their PTX
# (OBJECT.ptx/), which test/build/cuda.test.ts reads.
for argument; do
  [ "$previous" = -o ] && object=$argument
  previous=$argument
done
rm -rf "$object.ptx"
mkdir -p "$object.ptx"
"$@" -Xptxas=-v --keep --keep-dir "$object.ptx" 2>"$object.ptxas"
status=$?
[ $status -eq 0 ] || cat "$object.ptxas" >&2
find "$object.ptx" -type f ! -name '*.ptx' -delete
exit $status
