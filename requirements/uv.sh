#!/bin/sh
# Run the uv of a virtual environment: requirements/uv.sh .venv pip sync …
# uv does not read pip's settings. An index or certificates set for pip (a company's, a nearby mirror's) are handed on,
# so that what installed uv installs the rest.
set -eu
venv=$1
shift
settings=$("$venv/bin/python" -m pip config list 2>/dev/null || true)
setting() { echo "$settings" | sed -nE "s/^(global|install|:env:)[.]$1='(.*)'\$/\2/p" | tail -n 1; }
index=${UV_DEFAULT_INDEX:-$(setting index-url)}
certificates=${SSL_CERT_FILE:-$(setting cert)}
if [ -n "$index" ]; then export UV_DEFAULT_INDEX="$index"; fi
if [ -n "$certificates" ]; then export SSL_CERT_FILE="$certificates"; fi
VIRTUAL_ENV=$venv exec "$venv/bin/uv" --no-progress "$@"
