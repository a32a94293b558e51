#!/usr/bin/env bash
# A browser for the tests of the report, where there is none and Debian's can be installed. Without
# one these tests are skipped with that reason.
set -uo pipefail
command -v chromium >/dev/null && command -v chromedriver >/dev/null && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  export DEBIAN_FRONTEND=noninteractive
  { timeout 120 apt-get update -qq &&
    timeout 300 apt-get install -y -qq --no-install-recommends chromium chromium-driver; } >/dev/null
fi
command -v chromedriver >/dev/null || echo "no chromium: the browser tests will be skipped" >&2
exit 0
