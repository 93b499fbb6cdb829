# To be sourced, in bash or zsh: points the AWS SDKs and CLI at the LocalStack that start.sh started,
# in LOCALSTACK_DIR (default: target/localstack). LOCALSTACK_PORT says where it is when it was started otherwise.

_localstack_dir=${LOCALSTACK_DIR:-$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]:-$0}")/.." && pwd)/target/localstack}
_localstack_port=$(cat "$_localstack_dir/port" 2>/dev/null || echo "${LOCALSTACK_PORT:-}")
if [ -n "$_localstack_port" ]; then
  # What would go before the variables below, and lead to a real account.
  unset AWS_PROFILE AWS_SESSION_TOKEN AWS_IGNORE_CONFIGURED_ENDPOINT_URLS
  unset AWS_ENDPOINT_URL_S3 AWS_ENDPOINT_URL_SQS AWS_ENDPOINT_URL_SNS AWS_ENDPOINT_URL_EVENTBRIDGE
  export AWS_ENDPOINT_URL=http://127.0.0.1:$_localstack_port
  export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test
  # The CLI and boto3 read the second name only.
  export AWS_REGION=eu-west-1 AWS_DEFAULT_REGION=eu-west-1
  unset _localstack_dir _localstack_port
else
  echo "env.sh: no LocalStack runs in $_localstack_dir: start it with localstack/start.sh" >&2
  unset _localstack_dir _localstack_port
  false
fi
