# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034
SUITE_WHAT='lines of src/ that the tests reach'
SUITE_WHEN=full
SUITE_PACKAGES=(gcovr e2fsprogs util-linux python3)

# Of all layers below the tools, in percent.
COVERAGE_LEAST=85

# -Og: without any optimization the tests that replay journals take minutes.
build_coverage() {
    build_kind coverage --buildtype=custom -Ddebug=true -Doptimization=g -Db_coverage=true \
        -Dfuzz=true && build_install "$BUILD"
}

# Whatever runs out, in process: the ways out of an error.
coverage_faults() {
    local name
    for name in memory space "host $WORK" "files $WORK"; do
        # shellcheck disable=SC2086 # two words
        expect "coverage:no-${name%% *}" timeout 900 "$BUILD/test/fuzz/faults" $name
    done
}

# A server that is killed has counted nothing: no suite is here for its kills.
coverage_run() {
    local name start
    for name in unit fs model fsck badinput faults; do
        start=$SECONDS
        case $name in
        unit) unit_run coverage: ;;
        faults) coverage_faults ;;
        *) DAXFUSE_KEEP_BUILD=1 nested_suite "$name" coverage: ;;
        esac
        echo "$name: $((SECONDS - start)) s"
    done
}

# Lines of gcovr's table of files on stdin: one line for each folder, then the total that counts.
coverage_sum() {
    awk -F, '
        function line(name, reached, of) {
            printf "%-12s %5d of %5d lines  %5.1f %%\n", name, reached, of, 100 * reached / of
        }
        $1 ~ /^src\// {
            split($1, part, "/")
            lines[part[2]] += $2
            reached[part[2]] += $3
            if (part[2] != "tools") {
                all += $2
                all_reached += $3
            }
        }
        END {
            count = split("base media journal space meta dax fs transport tools", order, " ")
            for (i = 1; i <= count; i++)
                if (lines[order[i]])
                    line(order[i], reached[order[i]], lines[order[i]])
            if (all)
                line("without tools", all_reached, all)
        }'
}

suite_run() {
    local percent
    build_coverage || { not_ok coverage:build; return 1; }
    export OUT=$BUILD/out
    find "$BUILD" -name '*.gcda' -delete
    coverage_run
    gcovr --root "$ROOT" --filter "$ROOT/src/" --txt "$BUILD/coverage.txt" \
        --csv "$BUILD/coverage.csv" "$BUILD" >&2 || { not_ok coverage:gcovr; return 1; }
    cat "$BUILD/coverage.txt" >&2
    coverage_sum <"$BUILD/coverage.csv" | tee "$WORK/sum"
    echo "each file, and the lines that are not reached: build-coverage/coverage.txt"
    percent=$(sed -n 's/^without tools.* \([0-9]*\)\.[0-9] %$/\1/p' "$WORK/sum")
    if [ "${percent:-0}" -ge $COVERAGE_LEAST ]; then
        ok coverage:lines
    else
        not_ok "coverage:lines less than $COVERAGE_LEAST %"
    fi
}
