# --- compute=lambda ---

locals {
  functions = merge(
    local.on_lambda ? { events = "Events of S3 to bronze, and the steps of the state machine" } : {},
    local.merge_on_event ? { merge = "Silver and gold of a pipeline, after each commit to its bronze table" } : {},
  )
  # Resolved here, and so in the state: keep it where secrets may be.
  resolved = { for key, secret in data.aws_secretsmanager_secret_version.catalog : key => secret.secret_string }
}

data "aws_secretsmanager_secret_version" "catalog" {
  for_each  = local.on_lambda ? local.secrets : {}
  secret_id = each.value
}

data "aws_iam_policy_document" "function_trust" {
  statement {
    effect  = "Allow"
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "function" {
  statement {
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.logs.arn}:*"]
  }

  dynamic "statement" {
    for_each = local.merge_on_event ? [1] : []

    content {
      actions   = ["sqs:SendMessage"]
      resources = [aws_sqs_queue.undelivered.arn]
    }
  }
}

resource "aws_iam_role" "function" {
  count              = local.on_lambda ? 1 : 0
  name_prefix        = "${var.name}-function-"
  assume_role_policy = data.aws_iam_policy_document.function_trust.json
}

resource "aws_iam_role_policy" "function" {
  count  = local.on_lambda ? 1 : 0
  name   = "logs-and-failures"
  role   = aws_iam_role.function[0].id
  policy = data.aws_iam_policy_document.function.json
}

resource "aws_iam_role_policy_attachment" "function" {
  count      = local.on_lambda ? 1 : 0
  role       = aws_iam_role.function[0].name
  policy_arn = aws_iam_policy.worker.arn
}

resource "aws_lambda_function" "function" {
  for_each      = local.functions
  function_name = each.key == "events" ? var.name : "${var.name}-${each.key}"
  description   = each.value
  role          = aws_iam_role.function[0].arn
  package_type  = local.lambda_from_image ? "Image" : "Zip"
  image_uri     = local.lambda_from_image ? var.image : null
  s3_bucket     = local.lambda_from_image ? null : var.code_bucket
  s3_key        = local.lambda_from_image ? null : var.code_key
  runtime       = local.lambda_from_image ? null : "provided.al2023"
  handler       = local.lambda_from_image ? null : "bootstrap"
  architectures = [var.architecture]
  memory_size   = var.lambda_memory
  timeout       = var.lambda_timeout

  dynamic "image_config" {
    for_each = local.lambda_from_image ? [1] : []

    content {
      command = ["lambda"]
    }
  }

  ephemeral_storage {
    size = var.lambda_storage
  }

  logging_config {
    log_format = "Text"
    log_group  = aws_cloudwatch_log_group.logs.name
  }

  environment {
    variables = merge(
      local.environment,
      local.resolved,
      each.key == "events" && local.merge_on_event ? { SILVERSMITH_LAMBDA_MERGE = "event" } : {},
    )
  }

  lifecycle {
    precondition {
      condition     = local.lambda_from_image ? var.image != "" : var.code_bucket != ""
      error_message = "compute=lambda needs code_bucket and code_key, or image."
    }

    precondition {
      condition     = var.queue_visibility >= 6 * var.lambda_timeout + var.batching_window
      error_message = "queue_visibility has to be six times lambda_timeout, and batching_window."
    }
  }
}

resource "aws_lambda_event_source_mapping" "events" {
  count                              = local.on_lambda ? 1 : 0
  function_name                      = aws_lambda_function.function["events"].arn
  event_source_arn                   = aws_sqs_queue.raw.arn
  batch_size                         = var.batch_size
  maximum_batching_window_in_seconds = var.batching_window
  function_response_types            = ["ReportBatchItemFailures"]

  scaling_config {
    maximum_concurrency = var.maximum_concurrency
  }

  # Lambda tries to read the queue when the mapping is made.
  depends_on = [aws_iam_role_policy_attachment.function]
}

resource "aws_lambda_function_event_invoke_config" "merge" {
  count                  = local.merge_on_event ? 1 : 0
  function_name          = aws_lambda_function.function["merge"].function_name
  qualifier              = "$LATEST"
  maximum_retry_attempts = 2

  destination_config {
    on_failure {
      destination = aws_sqs_queue.undelivered.arn
    }
  }
}

resource "aws_cloudwatch_event_rule" "merge" {
  count          = local.merge_on_event ? 1 : 0
  name           = "${var.name}-merge"
  description    = "Bronze has new rows, silver follows"
  event_bus_name = aws_cloudwatch_event_bus.bus.name
  event_pattern  = jsonencode({ source = ["silversmith"], detail-type = ["bronze.committed"] })
}

resource "aws_cloudwatch_event_target" "merge" {
  count          = local.merge_on_event ? 1 : 0
  rule           = aws_cloudwatch_event_rule.merge[0].name
  event_bus_name = aws_cloudwatch_event_bus.bus.name
  target_id      = "merge"
  arn            = aws_lambda_function.function["merge"].arn

  dead_letter_config {
    arn = aws_sqs_queue.undelivered.arn
  }
}

resource "aws_lambda_permission" "merge" {
  count         = local.merge_on_event ? 1 : 0
  function_name = aws_lambda_function.function["merge"].function_name
  action        = "lambda:InvokeFunction"
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.merge[0].arn
}
