# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034
SUITE_WHAT='damaged pools of any kind; memory, space, descriptors that run out'
SUITE_WHEN=always
SUITE_PACKAGES=(clang llvm libclang-rt-dev)

CORPUS=$ROOT/test/fuzz/corpus
COVERAGE_LEAST=70

# One build for both: the fuzzer's counters and llvm-cov's.
suite_build() {
    CC=clang build_kind fuzz --buildtype=debugoptimized -Dtests=false -Dfuzz=true -Dwerror=false \
        -Db_sanitize=address,undefined -Db_lundef=false -Dc_link_args=-fprofile-instr-generate \
        "-Dc_args=-fsanitize-coverage=inline-8bit-counters,pc-table -fno-sanitize-recover=all \
-fprofile-instr-generate -fcoverage-mapping"
}

# What was found before: each input once, in one process.
fuzz_corpus() {
    if "$FUZZ/fuzz_pool" -timeout=60 "$CORPUS"/* >&2; then
        ok fuzz:corpus
    else
        not_ok fuzz:corpus 'the log says which input, and what is wrong with it'
    fi
}

# fuzz_run SECONDS: on all processors. What fails is kept.
fuzz_run() {
    local log=$WORK/fuzz.log file failed=0
    mkdir -p "$WORK/found"
    LLVM_PROFILE_FILE=/dev/null "$FUZZ/fuzz_pool" -fork="$(nproc)" -ignore_crashes=1 \
        -max_total_time="$1" -timeout=60 -rss_limit_mb=3000 -max_len=400 -seed=$((SEED % 4294967295 + 1)) \
        -artifact_prefix="$WORK/found/" "$WORK/corpus" "$CORPUS" >"$log" 2>&1
    tail -n 100 "$log" >&2
    echo "$(sed -n 's/^#\([0-9]*\): cov:.*/\1/p' "$log" | tail -n 1) executions in $1 s, seed $SEED"
    for file in "$WORK"/found/*; do
        [ -e "$file" ] || continue
        cp "$file" "$ROOT/build-log/"
        FUZZ_SAY=1 "$FUZZ/fuzz_pool" "$file" >&2
        not_ok "fuzz:${file##*/} is in build-log: FUZZ_SAY=1 build-fuzz/test/fuzz/fuzz_pool shows it"
        failed=1
    done
    [ $failed = 1 ] || ok fuzz:run
}

# The lines that the inputs reach, of what reads what is on the medium.
fuzz_coverage() {
    local percent
    find "$CORPUS" "$WORK/corpus" -type f -print0 |
        LLVM_PROFILE_FILE=$WORK/raw.%p xargs -0 "$FUZZ/fuzz_pool" -timeout=60 2>"$WORK/replay" ||
        { tail -n 40 "$WORK/replay" >&2; not_ok fuzz:replay; }
    llvm-profdata merge -o "$WORK/profile" "$WORK"/raw.* >&2 || { not_ok fuzz:coverage; return; }
    # Not the command's main, which is not in it.
    llvm-cov report "$FUZZ/fuzz_pool" -instr-profile="$WORK/profile" \
        "$ROOT"/src/media/validate*.c "$ROOT/src/journal/replay.c" "$ROOT/src/fs/recovery.c" \
        "$ROOT"/src/meta/*.c "$ROOT"/src/tools/fsck_*.c >"$WORK/coverage"
    cat "$WORK/coverage" >&2
    percent=$(awk '$1 == "TOTAL" { sub(/\..*/, "", $10); print $10 }' "$WORK/coverage")
    echo "lines reached of validation, replay, recovery, meta and fsck: $percent %"
    if [ "${percent:-0}" -ge $COVERAGE_LEAST ]; then
        ok fuzz:coverage
    else
        not_ok "fuzz:coverage less than $COVERAGE_LEAST %"
    fi
}

# fuzz_faults NAME ARGUMENTS...
fuzz_faults() {
    if timeout 1800 "$FUZZ/faults" "$@" >"$WORK/faults"; then
        tail -n 1 "$WORK/faults"
        ok "fuzz:no-$1"
    else
        cat "$WORK/faults" >&2
        not_ok "fuzz:no-$1 the log says where"
    fi
}

# The server with so few descriptors that it gets its pool, its door or its socket, or not.
fuzz_descriptors() {
    local pool=$WORK/few.pool count status served=0
    "$OUT/bin/mkfs.daxfuse" -s 16M "$pool" >&2 || { not_ok fuzz:mkfs; return; }
    mkdir -p "$WORK/few"
    for count in $(seq 3 24); do
        # shellcheck disable=SC2016 # for the inner shell
        timeout 30 bash -c 'ulimit -n "$0" && exec "$@"' "$count" \
            "$OUT/bin/daxfuse" "$pool" "$WORK/few" >&2 2>&1
        status=$?
        case $status in
        0)
            served=$((served + 1))
            { echo "$count" >"$WORK/few/file$count" && cat "$WORK/few/file$count"; } >&2 2>&1
            if ! pool_umount "$pool" "$WORK/few" >&2; then
                umount -l "$WORK/few"
                not_ok "fuzz:descriptors with $count it does not end"
                return
            fi
            ;;
        1 | 2 | 16 | 32 | 127) ;; # 127: the loader had none for the libraries
        *)
            not_ok "fuzz:descriptors with $count it ends with $status"
            return
            ;;
        esac
    done
    if [ $served -gt 0 ] && "$OUT/bin/fsck.daxfuse" -n "$pool" >&2; then
        ok fuzz:descriptors
    else
        not_ok "fuzz:descriptors served $served times, and then fsck"
    fi
    rm -f "$pool"
}

suite_run() {
    suite_build || { not_ok fuzz:build; return 1; }
    FUZZ=$BUILD/test/fuzz
    export LLVM_PROFILE_FILE=/dev/null
    mkdir -p "$WORK/corpus"
    fuzz_corpus
    # What is new is searched for when that is asked for: a test run is about what is known.
    [ "$SECONDS_LIMIT" -lt 30 ] || fuzz_run "$SECONDS_LIMIT"
    fuzz_coverage
    fuzz_faults memory
    fuzz_faults space
    fuzz_faults host "$WORK"
    fuzz_faults files "$WORK"
    fuzz_descriptors
}
