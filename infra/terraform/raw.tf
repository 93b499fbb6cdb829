# --- What comes in ---

resource "aws_s3_bucket" "raw" {
  count = local.new_raw_bucket ? 1 : 0
  # Without force_destroy: what holds objects is not destroyed.
  bucket = local.raw_bucket
}

resource "aws_s3_bucket_server_side_encryption_configuration" "raw" {
  count  = local.new_raw_bucket ? 1 : 0
  bucket = aws_s3_bucket.raw[0].id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_versioning" "raw" {
  count  = local.new_raw_bucket ? 1 : 0
  bucket = aws_s3_bucket.raw[0].id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_ownership_controls" "raw" {
  count  = local.new_raw_bucket ? 1 : 0
  bucket = aws_s3_bucket.raw[0].id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "raw" {
  count                   = local.new_raw_bucket ? 1 : 0
  bucket                  = aws_s3_bucket.raw[0].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_lifecycle_configuration" "raw" {
  count  = local.new_raw_bucket ? 1 : 0
  bucket = aws_s3_bucket.raw[0].id

  # An upload that is never completed would hold back the low watermark of `silversmith bronze`.
  rule {
    id     = "uploads-left-open"
    status = "Enabled"
    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }

  rule {
    id     = "versions"
    status = "Enabled"
    filter {}

    noncurrent_version_expiration {
      noncurrent_days = var.raw_versions_days
    }
  }
}

resource "aws_s3_bucket_notification" "raw" {
  count       = local.new_raw_bucket ? 1 : 0
  bucket      = aws_s3_bucket.raw[0].id
  eventbridge = var.notifications == "eventbridge"

  dynamic "queue" {
    for_each = var.notifications == "s3" ? [1] : []

    content {
      queue_arn     = aws_sqs_queue.raw.arn
      events        = ["s3:ObjectCreated:*"]
      filter_prefix = var.raw_prefix == "" ? null : var.raw_prefix
    }
  }

  # S3 tries the queue when the notification is set.
  depends_on = [aws_sqs_queue_policy.raw]
}

resource "aws_s3_bucket_policy" "raw" {
  count  = local.new_raw_bucket ? 1 : 0
  bucket = aws_s3_bucket.raw[0].id
  policy = data.aws_iam_policy_document.only_tls["raw"].json
}

resource "aws_sqs_queue" "raw" {
  name                    = "${var.name}-raw-events"
  sqs_managed_sse_enabled = true
  # Shorter than the dead letters' fourteen days: SQS counts from the day on which a message was first sent.
  message_retention_seconds  = 604800
  receive_wait_time_seconds  = 20
  visibility_timeout_seconds = var.queue_visibility

  # For messages that crash workers. Fewer receives, and an outage would make dead letters.
  redrive_policy = jsonencode({ deadLetterTargetArn = aws_sqs_queue.dead_letters.arn, maxReceiveCount = 12 })
}

resource "aws_sqs_queue" "dead_letters" {
  name                      = "${var.name}-raw-events-dlq"
  sqs_managed_sse_enabled   = true
  message_retention_seconds = 1209600

  # By name: each of the two queues names the other.
  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = ["arn:${local.partition}:sqs:${local.region}:${local.account}:${var.name}-raw-events"]
  })
}

# What the machinery could not deliver: schedules that did not start, events that reached no target. Not for silversmith.
resource "aws_sqs_queue" "undelivered" {
  name                      = "${var.name}-undelivered"
  sqs_managed_sse_enabled   = true
  message_retention_seconds = 1209600
}

data "aws_iam_policy_document" "raw_queue" {
  statement {
    sid       = "OnlyTls"
    effect    = "Deny"
    actions   = ["sqs:*"]
    resources = [aws_sqs_queue.raw.arn]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }

  dynamic "statement" {
    for_each = var.notifications == "s3" ? [1] : []

    content {
      sid       = "TheRawBucket"
      effect    = "Allow"
      actions   = ["sqs:SendMessage"]
      resources = [aws_sqs_queue.raw.arn]

      principals {
        type        = "Service"
        identifiers = ["s3.amazonaws.com"]
      }

      condition {
        test     = "ArnEquals"
        variable = "aws:SourceArn"
        values   = [local.raw_bucket_arn]
      }

      condition {
        test     = "StringEquals"
        variable = "aws:SourceAccount"
        values   = [local.account]
      }
    }
  }

  dynamic "statement" {
    for_each = var.notifications == "eventbridge" ? [1] : []

    content {
      sid       = "TheRule"
      effect    = "Allow"
      actions   = ["sqs:SendMessage"]
      resources = [aws_sqs_queue.raw.arn]

      principals {
        type        = "Service"
        identifiers = ["events.amazonaws.com"]
      }

      condition {
        test     = "ArnEquals"
        variable = "aws:SourceArn"
        values   = [aws_cloudwatch_event_rule.raw[0].arn]
      }
    }
  }
}

resource "aws_sqs_queue_policy" "raw" {
  queue_url = aws_sqs_queue.raw.id
  policy    = data.aws_iam_policy_document.raw_queue.json
}

data "aws_iam_policy_document" "other_queues" {
  statement {
    sid       = "OnlyTls"
    effect    = "Deny"
    actions   = ["sqs:*"]
    resources = [aws_sqs_queue.dead_letters.arn, aws_sqs_queue.undelivered.arn]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }

  statement {
    sid       = "RulesOfTheseStacks"
    effect    = "Allow"
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.undelivered.arn]

    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }

    # The rule for raw objects is on the default bus, the others are on the bus of this module.
    condition {
      test     = "ArnLike"
      variable = "aws:SourceArn"
      values = [
        "arn:${local.partition}:events:${local.region}:${local.account}:rule/${var.name}-*",
        "arn:${local.partition}:events:${local.region}:${local.account}:rule/${var.name}/*",
      ]
    }
  }
}

resource "aws_sqs_queue_policy" "dead_letters" {
  queue_url = aws_sqs_queue.dead_letters.id
  policy    = data.aws_iam_policy_document.other_queues.json
}

resource "aws_sqs_queue_policy" "undelivered" {
  queue_url = aws_sqs_queue.undelivered.id
  policy    = data.aws_iam_policy_document.other_queues.json
}

resource "aws_cloudwatch_event_rule" "raw" {
  count       = var.notifications == "eventbridge" ? 1 : 0
  name        = "${var.name}-raw"
  description = "Objects created in the raw bucket"

  event_pattern = jsonencode({
    source      = ["aws.s3"]
    detail-type = ["Object Created"]
    account     = [local.account]
    detail = merge(
      { bucket = { name = [local.raw_bucket] } },
      var.raw_prefix == "" ? {} : { object = { key = [{ prefix = var.raw_prefix }] } },
    )
  })
}

resource "aws_cloudwatch_event_target" "raw" {
  count     = var.notifications == "eventbridge" ? 1 : 0
  rule      = aws_cloudwatch_event_rule.raw[0].name
  target_id = "queue"
  arn       = aws_sqs_queue.raw.arn

  dead_letter_config {
    arn = aws_sqs_queue.undelivered.arn
  }
}
