# Reads what `cargo test` printed; prints the tests that were skipped or failed, then "PASSED FAILED SKIPPED".
#
# Both libtest ("ignored, reason") and libtest-mimic ("ignored (reason)") are understood. A test program that says no
# result (it crashed) and a program that did not compile count as a failure.

function program_ends() {
    if (program != "" && !reported) {
        failed++
        lines = lines "  failed   " program ": ended without a result\n"
    }
}

/^ +(Running|Doc-tests) / {
    program_ends()
    program = $0
    sub(/^ +Running (unittests )?/, "", program)
    sub(/^ +Doc-tests/, "doc-tests of", program)
    sub(/ \(target.*/, "", program)
    reported = 0
}

/^test .+ \.\.\. ignored/ {
    name = $0
    sub(/^test +/, "", name)
    sub(/ +\.\.\. ignored.*/, "", name)
    reason = $0
    sub(/.* \.\.\. ignored(, )?/, "", reason)
    sub(/^ *\(/, "", reason)
    sub(/\)$/, "", reason)
    if (reason == "") reason = "no reason given"
    lines = lines "  skipped  " name ": " reason "\n"
}

/^test .+ \.\.\. FAILED/ {
    name = $0
    sub(/^test +/, "", name)
    sub(/ +\.\.\. FAILED.*/, "", name)
    lines = lines "  failed   " name "\n"
}

/^test result: (ok|FAILED)\. [0-9]+ passed; [0-9]+ failed; [0-9]+ ignored/ {
    passed += $4
    failed += $6
    skipped += $8
    reported = 1
}

END {
    program_ends()
    printf "%s%d %d %d\n", lines, passed, failed, skipped
}
