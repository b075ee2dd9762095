#!/usr/bin/env bash
# Records docs/plan-and-apply.svg: a plan, its application and the way back, on emulated devices.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'kill "$fleet" 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
export PYTHONPATH=$root PATH=$root/.venv/bin:$PATH
export BM_DEVICE_PASSWORD=correct-horse-battery BM_COA_SECRET=staple-of-sixteen-octets
python -c 'from pathlib import Path; from lab.small_isp import SmallIsp; SmallIsp(subnet="127.81.1").write(Path("."))'
python -m lab.emulators run fleet.yaml --state fleet >/dev/null 2>&1 &
fleet=$!
until [ -e fleet/ready ]; do sleep 0.1; done
{
  bandmaster init
  bandmaster inventory import inventory.yaml
  for device in bng-fra-1 olt-fra-1 olt-fra-2; do bandmaster device enroll-key "$device" --yes; done
} >/dev/null 2>&1
python "$root/tools/capture.py" "$root/docs/plan-and-apply.svg" \
  'bandmaster service tier svc-1001 fiber-500 --ticket CHG-88123 --yes' \
  'bandmaster ledger tail'
