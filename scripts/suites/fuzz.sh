# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034
SUITE_WHAT='damaged pools; hostile guests and VMMs; memory, space, descriptors that run out'
SUITE_WHEN=always
SUITE_PACKAGES=(clang llvm libclang-rt-dev)

CORPUS=$ROOT/test/fuzz/corpus
COVERAGE_LEAST=80

# One build for both: the fuzzer's counters and llvm-cov's.
suite_build() {
    CC=clang build_kind fuzz --buildtype=debugoptimized -Dtests=false -Dfuzz=true -Dwerror=false \
        -Db_sanitize=address,undefined -Db_lundef=false -Dc_link_args=-fprofile-instr-generate \
        "-Dc_args=-fsanitize-coverage=inline-8bit-counters,pc-table -fno-sanitize-recover=all \
-fprofile-instr-generate -fcoverage-mapping"
}

# fuzz_corpus TARGET CORPUS: what was found before, each input once, in one process.
fuzz_corpus() {
    if timeout 600 "$FUZZ/fuzz_$1" -timeout=60 "$2"/* >&2; then
        ok "fuzz:corpus-$1"
    else
        not_ok "fuzz:corpus-$1" 'the log says which input, and what is wrong with it'
    fi
}

# fuzz_run TARGET CORPUS LENGTH SECONDS: on all processors. What fails is kept.
fuzz_run() {
    local target=$1 corpus=$2 length=$3 seconds=$4 log=$WORK/fuzz-$1.log file failed=0
    mkdir -p "$WORK/found-$target" "$WORK/corpus-$target"
    LLVM_PROFILE_FILE=/dev/null "$FUZZ/fuzz_$target" -fork="$(nproc)" -ignore_crashes=1 \
        -max_total_time="$seconds" -timeout=60 -rss_limit_mb=3000 -max_len="$length" \
        -seed=$((SEED % 4294967295 + 1)) -artifact_prefix="$WORK/found-$target/$target-" \
        "$WORK/corpus-$target" "$corpus" >"$log" 2>&1
    tail -n 100 "$log" >&2
    echo "$target: $(sed -n 's/^#\([0-9]*\): cov:.*/\1/p' "$log" | tail -n 1) executions in $seconds s, seed $SEED"
    for file in "$WORK/found-$target"/*; do
        [ -e "$file" ] || continue
        cp "$file" "$ROOT/build-log/"
        FUZZ_SAY=1 timeout 120 "$FUZZ/fuzz_$target" "$file" >&2
        not_ok "fuzz:${file##*/} is in build-log: FUZZ_SAY=1 build-fuzz/test/fuzz/fuzz_$target shows it"
        failed=1
    done
    [ $failed = 1 ] || ok "fuzz:run-$target"
}

# fuzz_hostile NAME BIN SECONDS SECCOMP: a guest that means harm at one socket of a server, a good one at another.
fuzz_hostile() {
    local name=fuzz:hostile-$1 bin=$2 seconds=$3 dir=$WORK/$1 server hostile tries
    local pool=$dir/pool mnt=$dir/mnt
    mkdir -p "$mnt"
    head -c 3000000 /dev/urandom >"$dir/victim"
    if ! { "$bin/mkfs.daxfuse" -s 512M "$pool" && "$bin/daxfuse" "$pool" "$mnt" &&
        mkdir "$mnt/guest" "$mnt/victim" && cp "$dir/victim" "$mnt/victim/file" &&
        pool_umount "$pool" "$mnt"; } >&2; then
        not_ok "$name" 'no pool'
        return
    fi
    # A sanitizer's own calls are none that the filter knows, and it stops nobody to look for leaks.
    ASAN_OPTIONS=detect_leaks=0 "$bin/daxfuse" -f --seccomp "$4" "$pool" "$mnt" \
        --vhost-user "$dir/h,tag=h,root=/guest,window=64M,queues=2" \
        --vhost-user "$dir/v,tag=v,root=/victim,window=64M,queues=2" 2>"$dir/log" &
    server=$!
    tries=200
    until mountpoint -q "$mnt" && [ -S "$dir/v" ] || [ $((tries -= 1)) = 0 ]; do sleep 0.05; done
    timeout $((seconds + 90)) "$FUZZ/hostile_guest" --seconds "$seconds" --seed "$SEED" "$dir/h" &
    hostile=$!
    expect "$name:victim" timeout $((seconds + 90)) \
        "$FUZZ/hostile_guest" --check "$seconds" "$dir/v" file "$dir/victim"
    if wait $hostile; then ok "$name:served"; else not_ok "$name:served"; fi
    expect "$name:after" timeout 60 "$FUZZ/hostile_guest" --check 1 "$dir/v" file "$dir/victim"
    expect "$name:mount" timeout 60 cmp "$dir/victim" "$mnt/victim/file"
    kill -TERM $server
    timeout 30 tail --pid=$server -f /dev/null
    if kill -0 $server 2>/dev/null; then
        kill -KILL $server
        not_ok "$name:end" 'SIGTERM does not end it in 30 s'
    elif wait $server; then
        ok "$name:end"
    else
        not_ok "$name:end" 'the log says how'
    fi
    cat "$dir/log" >&2
    umount -l "$mnt" 2>/dev/null
    expect "$name:fsck" "$bin/fsck.daxfuse" -n "$pool"
    rm -rf "$dir"
}

# The lines that the inputs reach, of what reads what is on the medium.
fuzz_coverage() {
    local percent
    find "$CORPUS" "$WORK/corpus-pool" -type f -print0 |
        LLVM_PROFILE_FILE=$WORK/raw.%p xargs -0 "$FUZZ/fuzz_pool" -timeout=60 2>"$WORK/replay" ||
        { tail -n 40 "$WORK/replay" >&2; not_ok fuzz:replay; }
    llvm-profdata merge -o "$WORK/profile" "$WORK"/raw.* >&2 || { not_ok fuzz:coverage; return; }
    # Its own choice of files goes by the paths that the compiler was given.
    llvm-cov report "$FUZZ/fuzz_pool" -instr-profile="$WORK/profile" >"$WORK/coverage"
    cat "$WORK/coverage" >&2
    percent=$(awk -v files='(media/validate[a-z_]*|journal/replay|fs/recovery|meta/[a-z_]*|tools/fsck_[a-z_]*)[.]c$' \
        '$1 ~ files { lines += $8; missed += $9 } END { if (lines) printf "%d", 100 * (lines - missed) / lines }' \
        "$WORK/coverage")
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
    # Also of what meson tries out.
    export LLVM_PROFILE_FILE=/dev/null
    suite_build || { not_ok fuzz:build; return 1; }
    FUZZ=$BUILD/test/fuzz
    local hostile=10 each=$((SECONDS_LIMIT / 3))
    [ -z "$FULL" ] || hostile=300
    mkdir -p "$WORK/corpus-pool"
    fuzz_corpus pool "$CORPUS"
    fuzz_corpus guest "$CORPUS-guest"
    fuzz_corpus vhost "$CORPUS-vhost"
    # A search is as long as was asked for in all; in a short run the doors get a few seconds, for what they are
    # fed by comes from outside every day.
    if [ "$SECONDS_LIMIT" -lt 30 ]; then
        fuzz_run guest "$CORPUS-guest" 1601 3
        fuzz_run vhost "$CORPUS-vhost" 801 3
    else
        fuzz_run pool "$CORPUS" 400 $((SECONDS_LIMIT - 2 * each))
        fuzz_run guest "$CORPUS-guest" 1601 $each
        fuzz_run vhost "$CORPUS-vhost" 801 $each
    fi
    fuzz_hostile installed "$OUT/bin" $hostile kill
    fuzz_hostile sanitized "$BUILD/src/tools" $hostile log
    fuzz_coverage
    fuzz_faults memory
    fuzz_faults space
    fuzz_faults host "$WORK"
    fuzz_faults files "$WORK"
    fuzz_descriptors
}
