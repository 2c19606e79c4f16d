# Sourced by the scripts that make environments; FOLDER is where they lie.

# environment NAME REQUIREMENT...: a virtual environment with these installed; at once when already done.
environment() {
    local name="$1"
    shift
    local place="$FOLDER/$name"
    local stamp="$place/.hone-$(printf '%s' "$*" | cksum | cut -d' ' -f1)"
    if [ -f "$stamp" ]; then
        return
    fi
    "${PYTHON:-python3}" -m venv --clear "$place"
    "$place/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
    touch "$stamp"
}
