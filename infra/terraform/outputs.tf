# What silversmith.toml names in ${...}, and what the commands of infra/README.md need. Named as the templates' outputs.

output "raw_bucket_name" {
  value       = local.raw_bucket
  description = "RAW_BUCKET"
}

output "raw_queue_url" {
  value       = aws_sqs_queue.raw.id
  description = "RAW_QUEUE_URL"
}

output "raw_queue_arn" {
  value       = aws_sqs_queue.raw.arn
  description = "For the notification of an existing bucket"
}

output "raw_dlq_url" {
  value       = aws_sqs_queue.dead_letters.id
  description = "RAW_DLQ_URL"
}

output "undelivered_url" {
  value       = aws_sqs_queue.undelivered.id
  description = "What schedules and rules could not deliver"
}

output "lake_bucket_name" {
  value       = aws_s3_bucket.lake.id
  description = "Configuration and checkpoints"
}

output "config_uri" {
  value       = "s3://${aws_s3_bucket.lake.id}/config/silversmith.toml"
  description = "SILVERSMITH_CONFIG"
}

output "checkpoints" {
  value       = "s3://${aws_s3_bucket.lake.id}/checkpoints"
  description = "CHECKPOINTS"
}

output "warehouse" {
  value       = "s3://${aws_s3_bucket.lake.id}/warehouse"
  description = "WAREHOUSE. Not with S3 Tables, which has a storage of its own for each table."
}

output "table_bucket_arn" {
  value       = local.at_table_bucket ? local.table_bucket_arn : null
  description = "The table bucket"
}

output "catalog" {
  value       = local.catalog
  description = "CATALOG. For postgres it is in a secret."

  precondition {
    condition     = var.catalog != "rest" || var.rest_uri != ""
    error_message = "catalog=rest needs rest_uri."
  }

  precondition {
    condition     = var.catalog_url_secret_arn == "" || var.rest_credential_secret_arn == ""
    error_message = "catalog_url_secret_arn is for postgres and rest_credential_secret_arn for rest, so only one of them can be set."
  }
}

output "event_bus_name" {
  value       = aws_cloudwatch_event_bus.bus.name
  description = "EVENT_BUS"
}

output "worker_policy_arn" {
  value       = aws_iam_policy.worker.arn
  description = "For the roles of your own machines"
}

output "topic_arn" {
  value       = aws_sns_topic.alarms.arn
  description = "Where alarms go"
}

output "state_machine_arn" {
  value       = aws_sfn_state_machine.steps.arn
  description = "bronze, silver, gold"
}

output "steps_activity_arn" {
  value       = one(aws_sfn_activity.steps[*].id)
  description = "Where your own machines ask for steps"
}

output "steps_policy_arn" {
  value       = one(aws_iam_policy.steps[*].arn)
  description = "For the roles of your own machines"
}

output "log_group_name" {
  value       = aws_cloudwatch_log_group.logs.name
  description = "Logs of tasks and functions"
}

output "cluster_name" {
  value       = one(aws_ecs_cluster.workers[*].name)
  description = "Of the Fargate workers"
}

output "service_name" {
  value       = one(aws_ecs_service.workers[*].name)
  description = "Of the Fargate workers"
}

output "function_name" {
  value       = local.on_lambda ? aws_lambda_function.function["events"].function_name : null
  description = "Of the function that reads the queue"
}
