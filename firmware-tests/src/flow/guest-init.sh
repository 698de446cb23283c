# What a distribution's init does around tidelock-agent, and how each stage is told: one JSON line on the results port when it starts
# and one when it ends; JSON that a stage prints is its "data". /script, sourced at the end, says what this guest is for.
mount -t tmpfs tmpfs /run
mkdir -p /run/tidelock
link_port org.tidelock.courier.0

stage() {
    name=$1
    shift
    say "{\"stage\":\"$name\",\"event\":\"start\"}"
    data=$("$@")
    code=$?
    case $data in
    [{[]*) ;;
    *) # words for people: they belong on the console
        echo "$data"
        data=null
        ;;
    esac
    say "{\"stage\":\"$name\",\"event\":\"end\",\"exit\":$code,\"data\":$data}"
    return $code
}

agent() {
    tidelock-agent --config /etc/tidelock/agent.toml "$@"
}

say "{\"stage\":\"boot\",\"event\":\"end\",\"exit\":0,\"data\":{\"kernel\":\"$(uname -r)\"}}"
stage isolate agent isolate
stage modules load_modules
. /script
say '{"stage":"end","event":"end","exit":0,"data":null}'
power_off
