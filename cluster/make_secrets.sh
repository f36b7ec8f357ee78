#!/bin/sh
# The secrets of cluster/compose.yaml: random, in files of their owner's alone, never overwritten.
#
#   sh cluster/make_secrets.sh
set -eu

umask 077
folder="$(dirname "$0")/secrets"
mkdir -p "$folder"
for name in ray_token mlflow_password mlflow_session_key database_password objects_key; do
  if [ ! -s "$folder/$name" ]; then
    od -An -N32 -tx1 /dev/urandom | tr -d ' \n' > "$folder/$name"
  fi
done
cat > "$folder/objects_config" <<EOF
{"identities": [{"name": "mlflow", "actions": ["Admin", "Read", "Write", "List", "Tagging"],
  "credentials": [{"accessKey": "mlflow", "secretKey": "$(cat "$folder/objects_key")"}]}]}
EOF
echo "secrets are in $folder; containers run as user 1000: chown -R 1000 $folder where you are another one"
