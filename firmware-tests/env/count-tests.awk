# Reads what `cargo test` printed; prints the tests that were skipped or failed, then "PASSED FAILED SKIPPED".
#
# Both libtest ("ignored, reason") and libtest-mimic ("ignored (reason)") are understood, also when a test's own output
# comes between its name and its outcome. The numbers are those of the result lines; a test program without one (it
# crashed) counts as one failure.

function program_ends() {
    if (program != "" && !reported) {
        failed++
        lines = lines "  failed   " program ": ended without a result\n"
    }
    waiting = ""
}

function ended(name, outcome) {
    waiting = ""
    if (outcome ~ /^FAILED/) {
        lines = lines "  failed   " name "\n"
    } else if (outcome ~ /^ignored/) {
        sub(/^ignored(, )?/, "", outcome)
        sub(/^ *\(/, "", outcome)
        sub(/\)$/, "", outcome)
        if (outcome == "") outcome = "no reason given"
        lines = lines "  skipped  " name ": " outcome "\n"
    } else if (outcome !~ /^ok/) {
        waiting = name
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

/^test .+ \.\.\. / {
    at = index($0, " ... ")
    name = substr($0, 6, at - 6)
    sub(/ +$/, "", name)
    ended(name, substr($0, at + 5))
    next
}

waiting != "" && /^(ok$|FAILED$|ignored)/ { ended(waiting, $0) }

/^test result: (ok|FAILED)\. [0-9]+ passed; [0-9]+ failed; [0-9]+ ignored/ {
    passed += $4
    failed += $6
    skipped += $8
    reported = 1
    waiting = ""
}

END {
    program_ends()
    printf "%s%d %d %d\n", lines, passed, failed, skipped
}
