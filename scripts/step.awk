# How far a command is, by what it has printed: apt-get, pip, mmdebstrap and buildah.
# With -v ended=1: what it has done in all.

function bytes(number, unit) {
    gsub(/[,\[(]/, "", number)
    gsub(/[\])]/, "", unit)
    return number * (unit == "GB" ? 1e9 : unit == "MB" ? 1e6 : unit == "kB" ? 1e3 : 1)
}

function megabytes(amount) {
    return sprintf(amount < 9.5e6 ? "%.1f" : "%.0f", amount / 1e6)
}

function say(text) {
    shown = shown (shown == "" ? "" : ", ") text
}

# buildah: "[2/3] STEP 4/7: RUN ...", of a build with one stage without the first
/^\[[0-9]+\/[0-9]+\] STEP [0-9]+\/[0-9]+: / {
    split(substr($1, 2), stage, /[\/\]]/)
    place = "stage " stage[1] " of " stage[2] ", "
}
/^(\[[0-9]+\/[0-9]+\] )?STEP [0-9]+\/[0-9]+: / {
    match($0, /STEP [0-9]+\/[0-9]+/)
    split(substr($0, RSTART + 5, RLENGTH - 5), number, "/")
    step = place "step " number[1] " of " number[2]
    what = ""
    wanted = got = unpacked = ready = packages = 0
}
# mmdebstrap: "I: extracting archives..."
/^I: .*\.\.\.$/ {
    what = substr($0, 4, length($0) - 6)
    wanted = got = unpacked = ready = 0
}
# apt-get: "Need to get 35.1 MB/110 MB of archives." Of what it has there is "Get:5 http://... [123 kB]"; with
# APT::Status-Fd also the percentage of all.
/^Need to get / {
    if (index($4, "MB/") || index($5, "B/"))
        split($5, unit, "/")
    else
        unit[1] = $5
    wanted = bytes($4, unit[1])
    got = percent = 0
}
/^[0-9]+ upgraded, [0-9]+ newly installed/ { packages = $1 + $3; unpacked = ready = 0 }
/^Get:[0-9]+ .*\[[0-9.,]+ [kMG]?B\]$/ { got += bytes($(NF - 1), $NF); all += bytes($(NF - 1), $NF) }
/^dlstatus:/ { split($0, status, ":"); percent = status[3]; told = 1 }
/^Unpacking / { unpacked++ }
/^Setting up / { ready++ }
# pip: "Collecting trio", "Downloading trio-0.27-py3-none-any.whl (481 kB)"
/^ *Downloading .*\([0-9.]+ [kMG]?B\)$/ { got += bytes($(NF - 1), $NF); all += bytes($(NF - 1), $NF) }
/^(Collecting|Installing collected packages)/ { what = $1 == "Collecting" ? "collecting " $2 : "installing" }

END {
    if (ended) {
        if (all >= 1e5)
            print megabytes(all) " MB fetched"
        exit
    }
    if (step != "")
        say(step)
    if (unpacked || ready)
        say(ready ? "setting up " ready (packages ? " of " packages : "") : \
            "unpacking " unpacked (packages ? " of " packages : ""))
    else if (told && (wanted || got))
        say(megabytes((wanted ? wanted : got) * percent / 100) " of " megabytes(wanted ? wanted : got) " MB")
    else if (got)
        say((wanted ? megabytes(got) " of " megabytes(wanted) : megabytes(got)) " MB")
    if (what != "")
        say(what)
    print shown
}
